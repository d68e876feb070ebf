// The request being answered, for whoever calls on in its midst, and which trace it belongs to.

import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'

/** A verified access token of a user. */
export interface User {
  readonly token: string
  readonly username: string
  readonly userId: number
  readonly sessionId: string
  readonly scopes: readonly string[]
}

/** What a handler may want to know of its request besides the body. */
export interface RequestContext {
  /** The service that signed it. */
  readonly caller: string
  /** The same when the request is delivered again. */
  readonly messageId: string
  readonly correlationId: string
  /** Seconds since 1970. */
  readonly deadline: number
  /** For whom the caller acts. */
  readonly user: User | null
  readonly trace: Trace
}

export interface Trace {
  readonly traceparent: string
  readonly tracestate?: string
}

const requests = new AsyncLocalStorage<{ context?: RequestContext }>()

/** Return the request being answered; undefined outside of a handler, and once it has returned. */
export const currentContext = (): RequestContext | undefined => requests.getStore()?.context

/** Run a handler in its context. */
export async function runWithin<T>(context: RequestContext, run: () => Promise<T> | T): Promise<T> {
  const store: { context?: RequestContext } = { context }
  try {
    return await requests.run(store, run)
  } finally {
    delete store.context // what it began may be going on
  }
}

/** Begin a trace; nobody has recorded it so far, hence the flags. */
export function newTrace(): Trace {
  const ids = randomBytes(24).toString('hex')
  return { traceparent: `00-${ids.slice(0, 32)}-${ids.slice(32)}-00` }
}

const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?$/
const TRACESTATE = /^[\x20-\x7e]{1,512}$/

/** Read where a message was sent (W3C Trace Context); begin a trace where it does not say. */
export function readTrace(headers: Record<string, unknown>): Trace {
  const { traceparent: parent, tracestate: state } = headers
  const found = typeof parent === 'string' && parent.length <= 256 && TRACEPARENT.exec(parent)
  if (!found || (found[1] === '00' && found[3])) return newTrace()
  const traceparent = `00${found[2]}`
  return typeof state === 'string' && TRACESTATE.test(state)
    ? { traceparent, tracestate: state }
    : { traceparent }
}

/** Make a UUIDv7 (RFC 9562 section 5.7): unique, and sorted by time of making. */
export function newId(): string {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(Date.now(), 0, 6)
  bytes[6] = 0x70 | (bytes.readUInt8(6) & 0x0f)
  bytes[8] = 0x80 | (bytes.readUInt8(8) & 0x3f)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
