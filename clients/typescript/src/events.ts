// Hearing events, in each process that listens, while it runs; and which sessions end by them.

import { setTimeout as pause } from 'node:timers/promises'

import { type Revoked } from './admission.js'
import { consumeOwnQueue, type Delivery, Link } from './broker.js'
import { type EventContract, NotAuthorised, ServiceError } from './contract.js'
import { ListRevocations, type Revocation, type RevocationList, SessionRevoked } from './contracts.js'
import { type Keys, Refused } from './keys.js'
import { type Settings } from './settings.js'
import { readJson, verifySignature } from './signatures.js'

const LONGEST_LIFE_S = 31 * 86_400
const LISTED_MAX = 10_000 // revocations in one reply
const RETRY_MS = 1000
const INTERVAL_MS = 60_000

/** An event with what its verified envelope says, told apart by its `name`. */
export type Received<E extends EventContract> =
  E extends EventContract<infer Name, infer Body>
    ? {
        readonly name: Name
        readonly body: Body
        /** The same when an event comes twice. */
        readonly messageId: string
        /** That of what caused it, in every service's log. */
        readonly correlationId: string
        readonly sender: string
        /** Seconds since 1970. */
        readonly sentAt: number
      }
    : never

export interface Hearing<E extends EventContract> {
  readonly events: readonly E[]
  readonly onEvent: (event: Received<E>) => unknown
  /** Called each time it begins to hear: the moment to ask for what was missed. */
  readonly onOpen: () => void
  /** Called after each event that could not be taken: it may have mattered. */
  readonly onRefused: () => void
}

/** Hear some events; the link that is returned is the caller's to start and close. */
export function listening<E extends EventContract>(
  settings: Settings,
  keys: Keys,
  hearing: Hearing<E>,
): Link {
  const names = hearing.events.map(({ name }) => name)
  keys.refresh()
  for (const name of names) {
    // the broker would refuse it by closing the channel, again and again
    if (!keys.may(keys.service, 'listener', name)) {
      throw new NotAuthorised(`${keys.service} may not listen to ${name}`)
    }
  }
  const onDelivery = (delivery: Delivery) => {
    try {
      void Promise.resolve(hearing.onEvent(read(keys, hearing.events, delivery))).catch(onBug)
    } catch (error) {
      if (error instanceof NotTaken) {
        settings.log('warn', 'event refused', { reason: error.message })
        hearing.onRefused()
      } else onBug(error)
    }
  }
  const onBug = (error: unknown) => settings.log('error', 'listener failed', { error: String(error) })
  const link: Link = new Link(settings, keys.service, 'listener', async (channel) => {
    await consumeOwnQueue(link, channel, 'events', names, onDelivery)
    hearing.onOpen()
  })
  return link
}

class NotTaken extends Error {}

function read<E extends EventContract>(
  keys: Keys,
  events: readonly E[],
  { body, headers, properties }: Delivery,
): Received<E> {
  try {
    keys.refresh()
    const { op, iss, exp, iat, jti, cid } = verifySignature(keys, headers.signature, body, 'event')
    if (properties.userId !== iss) throw new Refused('sender_mismatch')
    const now = Date.now() / 1000
    if (exp <= now) throw new Refused('expired')
    if (exp > now + LONGEST_LIFE_S) throw new Refused('deadline_too_far')
    if (!keys.may(iss, 'event', op)) throw new Refused('caller_not_allowed', `${iss} as of ${op}`)
    const contract = events.find(({ name }) => name === op)
    if (!contract) throw new Refused('wrong_type', `nobody here listens to ${op}`)
    const envelope = { messageId: jti, correlationId: cid, sender: iss, sentAt: iat }
    return { name: op, body: contract.checkBody(readJson(body)), ...envelope } as Received<E>
  } catch (error) {
    throw new NotTaken((error as Error).message)
  }
}

type List = (request: ListRevocations) => Promise<RevocationList>

/** Follows which sessions have ended: hears of each, and asks for what it may have missed. */
export class RevocationFeed {
  readonly revoked: Revoked = new Map()
  readonly link: Link
  readonly #closing = new AbortController()
  #ask: () => void = () => {}

  constructor(
    private readonly settings: Settings,
    keys: Keys,
    private readonly list: List,
  ) {
    if (!keys.may(keys.service, 'request', ListRevocations.method)) {
      throw new NotAuthorised(`${keys.service} may not call ${ListRevocations.method}`)
    }
    this.link = listening(settings, keys, {
      events: [SessionRevoked],
      onEvent: ({ body }) => this.#add(body),
      onOpen: () => this.#ask(),
      onRefused: () => this.#ask(),
    })
  }

  start(): void {
    this.link.start()
    void this.#follow()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.link.close()
  }

  async #follow(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const asked = new Promise<void>((resolve) => (this.#ask = resolve))
      const isKnown = await this.#catchUp()
      await this.#wait(RETRY_MS)
      if (isKnown) await Promise.race([asked, this.#wait(INTERVAL_MS)])
    }
  }

  #wait(ms: number): Promise<void> {
    return pause(ms, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {})
  }

  /** Ask for all, page by page; false when that cannot be had now. */
  async #catchUp(): Promise<boolean> {
    try {
      for (let after = ''; ; ) {
        const { data } = await this.list({ after, limit: LISTED_MAX })
        for (const revocation of data) this.#add(revocation)
        const last = data.at(-1)
        if (!last || data.length !== LISTED_MAX || last.session_id === after) return true
        after = last.session_id
      }
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error
      this.settings.log('info', 'revocations not known yet', { reason: error.message })
      return false
    }
  }

  #add({ session_id, until }: Revocation): void {
    const now = Date.now() / 1000
    for (const [session, end] of this.revoked) {
      if (end > now) break
      this.revoked.delete(session)
    }
    if (until > now) this.revoked.set(session_id, until)
  }
}
