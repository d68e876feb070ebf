// Calling other services: a typed request in, its reply or its error out, never a hang.

import { consumeOwnQueue, type Delivery, Link, type Outcome, type Publisher } from './broker.js'
import { currentContext, newId, newTrace, type Trace } from './context.js'
import {
  fromProblem,
  InvalidRequest,
  NotAuthorised,
  OutcomeUnknown,
  Overloaded,
  PeerError,
  ReplyTimeout,
  type RequestContract,
  type ServiceError,
  Unavailable,
} from './contract.js'
import { type Keys, Refused } from './keys.js'
import { type ForMessage, seal } from './sealing.js'
import { type Settings } from './settings.js'
import { readJson, REQUEST_MAX_BYTES, sign, tokenHash, verifySignature } from './signatures.js'

const LONGEST_DEADLINE_S = 60

export interface CallOptions {
  /** At most 60; within a handler no more than its request has left. The contract's by default. */
  timeoutS?: number
  /** The access token of the user for whom the call is made. */
  user?: string
  correlationId?: string
  trace?: Trace
}

/** The message that is about to be sent, for what has to be sealed for it alone. */
export interface Sending extends ForMessage {
  /** Encrypt a secret to the service that is called. */
  readonly seal: (secret: string, context: string) => string
}

type AnyRequest = RequestContract<any, any, any>

interface Waiting {
  readonly contract: AnyRequest
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: ServiceError) => void
}

export class Calls {
  readonly link: Link
  #address: string | null = null
  #waiting = new Map<string, Waiting>() // by message id

  constructor(
    private readonly settings: Settings,
    private readonly keys: Keys,
    private readonly publisher: Publisher,
  ) {
    this.link = new Link(
      settings,
      keys.service,
      'replies',
      async (channel) => {
        const address = `reply.${keys.service}.${newId()}`
        const take = (delivery: Delivery) => this.#onReply(delivery)
        await consumeOwnQueue(this.link, channel, 'rpc.replies', [address], take)
        this.#address = address
      },
      () => this.#onLost(),
    )
  }

  /** Call, as `Postroad.call` does; `request` may be a function of the message to be sent. */
  async call(
    contract: AnyRequest,
    request: unknown,
    { timeoutS = contract.timeoutS, user, correlationId, trace }: CallOptions,
  ): Promise<unknown> {
    const { keys } = this
    const { method, service } = contract
    keys.refresh()
    // the broker would refuse it by closing the channel, and end every other call on it
    if (!keys.may(keys.service, 'request', method)) {
      throw new NotAuthorised(`${keys.service} may not call ${method}`)
    }
    if (!this.#address || !this.publisher.link.isOpen) {
      throw new Unavailable('the message broker is away')
    }
    const within = currentContext()
    const now = Date.now()
    const leftMs = within ? within.deadline * 1000 - now : Infinity
    const timeoutMs = Math.min(Math.round(timeoutS * 1000), Math.floor(leftMs))
    if (timeoutMs <= 0) throw new ReplyTimeout()
    if (!(timeoutMs <= LONGEST_DEADLINE_S * 1000)) {
      throw new RangeError(`timeoutS must be at most ${LONGEST_DEADLINE_S}`)
    }
    const id = newId()
    const cid = correlationId ?? within?.correlationId ?? id
    const exp = (now + timeoutMs) / 1000
    const sealed = (secret: string, context: string) => seal(keys, secret, service, context)
    const sending = { caller: keys.service, messageId: id, deadline: exp, seal: sealed }
    const content = typeof request === 'function' ? request(sending) : request
    const body = Buffer.from(JSON.stringify(content))
    if (body.length > REQUEST_MAX_BYTES) {
      throw new InvalidRequest(`the body is too long: ${body.length} bytes of ${REQUEST_MAX_BYTES}`)
    }
    const ath = user === undefined ? {} : { ath: tokenHash(user) }
    const said = { op: method, iat: now / 1000, exp, jti: id, cid, rto: this.#address, ...ath }
    const signature = sign(keys, service, body, { typ: 'request', ...said })
    const options = {
      contentType: 'application/json',
      type: method,
      messageId: id,
      correlationId: cid,
      replyTo: this.#address,
      expiration: String(timeoutMs),
      timestamp: Math.floor(now / 1000),
      userId: keys.service,
      headers: {
        signature,
        ...(user !== undefined && { authorization: user }),
        ...(trace ?? within?.trace ?? newTrace()),
      },
    }
    return new Promise((resolve, reject) => {
      const ending = <T>(end: (value: T) => void) => (value: T) => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        end(value)
      }
      const waiting = { contract, resolve: ending(resolve), reject: ending(reject) }
      const timer = setTimeout(() => waiting.reject(new ReplyTimeout()), timeoutMs)
      this.#waiting.set(id, waiting) // before publishing: a reply may be quick
      void this.publisher.publish('rpc', method, body, options).then((outcome) => {
        if (outcome !== 'confirmed') waiting.reject(failureOf(outcome, service))
      }, waiting.reject)
    })
  }

  #onReply({ body, headers }: Delivery): void {
    try {
      this.keys.refresh()
      const claims = verifySignature(this.keys, headers.signature, body, 'reply')
      const waiting = this.#waiting.get(claims.rid ?? '')
      if (!waiting) return this.settings.log('info', 'late reply', { method: claims.op })
      const { service, method } = waiting.contract
      if (service !== claims.iss || method !== claims.op) throw new Refused('wrong_reply')
      if (claims.cty === 'problem+json') waiting.reject(readProblem(body))
      else settleWith(waiting, body)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      this.settings.log('warn', 'reply refused', { reason: error.reason, detail: error.detail })
    }
  }

  /** Fail what is under way: the reply queue is gone, and what was in it. */
  #onLost(): void {
    this.#address = null
    for (const waiting of [...this.#waiting.values()]) waiting.reject(new OutcomeUnknown())
  }
}

function failureOf(outcome: Outcome | null, service: string): ServiceError {
  if (outcome === null) return new Unavailable('the message broker is away')
  if (outcome === 'returned') return new Unavailable(`there is no queue for ${service}`)
  if (outcome === 'refused') return new Overloaded(`the queue of ${service} is full`)
  return new OutcomeUnknown()
}

function readProblem(body: Buffer): ServiceError {
  try {
    return fromProblem(readJson(body))
  } catch {
    return fromProblem(null)
  }
}

function settleWith({ contract, resolve, reject }: Waiting, body: Buffer): void {
  let reply: unknown
  try {
    reply = contract.checkReply(readJson(body))
  } catch {
    return reject(new PeerError('the service answered what breaks its contract'))
  }
  resolve(reply)
}
