// Answering requests: admit, run the handler, reply, settle.

import { setTimeout as pause } from 'node:timers/promises'

import { type ConfirmChannel } from 'amqplib'

import { Admission, Late, type Revoked } from './admission.js'
import { consume, type Delivery, type Headers, Link, type Outcome, type Publisher } from './broker.js'
import { newId, readTrace, type RequestContext, runWithin } from './context.js'
import {
  ContractBroken,
  Internal,
  InvalidRequest,
  type RequestContract,
  ServiceError,
  toProblem,
} from './contract.js'
import { type Keys, Refused } from './keys.js'
import { type Settings } from './settings.js'
import { type Claims, MESSAGE_MAX_BYTES, readJson, sign } from './signatures.js'

const KEPT_BODY_BYTES = 4096 // of what nobody has signed
const KEPT_HEADERS_BYTES = 8192
const NEVER_SIGNED = ['unsigned', 'malformed', 'unknown_key', 'bad_signature']
const FIRST_KEPT = ['signature', 'authorization', 'traceparent']
const PAUSE_MS = 1000
const LOOK_MS = 10

export type Handler<Taken, Reply> = (
  request: Taken,
  context: RequestContext,
) => Promise<Reply> | Reply

/** A contract with the function that answers it. */
export interface Answering {
  readonly contract: RequestContract<any, any, any>
  readonly handler: Handler<any, any>
}

/** Pair a contract with the function that answers it. */
export const answer = <Taken, Reply>(
  contract: RequestContract<any, Taken, Reply>,
  handler: Handler<NoInfer<Taken>, NoInfer<Reply>>,
): Answering => ({ contract, handler })

interface Answer {
  readonly body: Buffer
  /** Of the error it is, if it is one. */
  readonly code: string | null
  readonly isBug: boolean
}

/** Answers one service's requests, `prefetch` at a time; each is settled once its reply is taken. */
export class Server {
  readonly link: Link
  readonly #admission: Admission
  readonly #handlers: Map<string, Answering>
  readonly #queue: string
  #stop: (() => Promise<unknown>) | null = null
  #isStopping = false
  #inFlight = 0

  constructor(
    private readonly settings: Settings,
    private readonly keys: Keys,
    private readonly publisher: Publisher,
    answers: readonly Answering[],
    revoked: Revoked,
  ) {
    this.#admission = new Admission(keys, revoked)
    this.#handlers = new Map(answers.map((each) => [each.contract.method, each]))
    this.#queue = `rpc.${keys.service}`
    const setUp = (channel: ConfirmChannel) => this.#consume(channel)
    this.link = new Link(settings, keys.service, 'consumer', setUp, () => (this.#stop = null))
  }

  /** Take no more requests, finish those under way, and leave the rest to others. */
  async drain(): Promise<void> {
    this.#isStopping = true
    await this.#stop?.().catch(() => {}) // then nothing is delivered either
    const deadline = Date.now() + this.settings.drainTimeoutS * 1000
    while (this.#inFlight && Date.now() < deadline) await pause(LOOK_MS)
    if (this.#inFlight) this.settings.log('warn', 'not drained in time', { requests: this.#inFlight })
    await this.link.close()
  }

  async #consume(channel: ConfirmChannel): Promise<void> {
    if (this.#isStopping) return
    await channel.prefetch(this.settings.prefetch)
    const onDelivery = (delivery: Delivery) => void this.#take(delivery)
    const tag = await consume(this.link, channel, this.#queue, onDelivery)
    this.#stop = () => channel.cancel(tag)
  }

  async #take(delivery: Delivery): Promise<void> {
    const takenAt = Date.now() / 1000
    this.#inFlight += 1
    try {
      const claims = this.#admission.verify(delivery)
      await this.#reply(claims, delivery, await this.#answer(claims, delivery), takenAt)
    } catch (error) {
      await this.#giveUp(delivery, error as Error)
    } finally {
      this.#inFlight -= 1
    }
  }

  /** Settle what is not answered: refused, late, or taken by a bug of ours. */
  async #giveUp(delivery: Delivery, error: Error): Promise<void> {
    const { userId, messageId, type: method } = delivery.properties
    if (error instanceof Late) {
      this.settings.log('info', 'late request', { method })
      return delivery.ack()
    }
    if (error instanceof Refused) {
      const { reason, detail } = error
      this.settings.log('warn', 'request refused', { reason, detail, userId, messageId })
      return this.#deadLetter(delivery, reason)
    }
    this.settings.log('error', 'request not settled', { error: error.stack })
    await pause(PAUSE_MS)
    delivery.requeue()
  }

  /** Authorise, parse and run the handler; a bug in it is answered too. */
  async #answer(claims: Claims, { body, headers }: Delivery): Promise<Answer> {
    const { op: method, iss: caller, jti: messageId, cid: correlationId, exp: deadline } = claims
    const answering = this.#handlers.get(method)
    try {
      const user = this.#admission.authorise(claims, answering?.contract, headers.authorization)
      const { contract, handler } = answering as Answering
      const request = readRequest(contract, body)
      const trace = readTrace(headers)
      const context = { caller, messageId, correlationId, deadline, user, trace }
      const reply = contract.checkReply(await runWithin(context, () => handler(request, context)))
      const content = Buffer.from(JSON.stringify(reply))
      if (content.length > MESSAGE_MAX_BYTES) throw new Error(`too long: ${content.length} bytes`)
      return { body: content, code: null, isBug: false }
    } catch (error) {
      const isBug = !(error instanceof ServiceError)
      if (isBug) {
        const said = error instanceof Error ? error.stack : String(error)
        this.settings.log('error', 'handler failed', { method, correlationId, error: said })
      }
      const told = isBug ? new Internal() : error
      return { body: Buffer.from(JSON.stringify(toProblem(told))), code: told.code, isBug }
    }
  }

  /** Publish the reply, when needed after the connection has come back; then settle the request. */
  async #reply(claims: Claims, delivery: Delivery, answer: Answer, takenAt: number): Promise<void> {
    const { op, iss, jti, cid, exp, rto } = claims
    const { keys, publisher, settings } = this
    const id = newId()
    const leftMs = () => Math.floor(exp * 1000 - Date.now())
    let outcome: Outcome | null = null
    while (!outcome && leftMs() > 0) {
      if (!(await publisher.link.opened(leftMs()))) continue
      const iat = Date.now() / 1000
      const tms = [takenAt - claims.iat, iat - takenAt].map((s) => Math.max(0, Math.round(s * 1e6)))
      const cty = answer.code ? { cty: 'problem+json' } : {}
      const said = { typ: 'reply' as const, op, iat, exp, jti: id, cid, rid: jti, tms, ...cty }
      const signature = this.#sign(iss, answer.body, said)
      if (!signature) break // the caller has been revoked
      outcome = await publisher.publish('rpc.replies', rto ?? '', answer.body, {
        contentType: answer.code ? 'application/problem+json' : 'application/json',
        type: op,
        messageId: id,
        correlationId: cid,
        expiration: String(Math.max(1, leftMs())),
        timestamp: Math.floor(iat),
        userId: keys.service,
        headers: { signature },
      })
      if (!outcome) await pause(LOOK_MS) // blocked, or just lost
    }
    if (outcome === 'lost') delivery.requeue() // the reply may be gone: somebody answers again
    else if (answer.isBug) await this.#deadLetter(delivery, 'rejected')
    else delivery.ack()
    const fields = { method: op, outcome: answer.code ?? 'ok', reply: outcome ?? 'late', caller: iss }
    settings.log('info', 'request', { ...fields, correlationId: cid })
  }

  #sign(caller: string, body: Buffer, said: Parameters<typeof sign>[3]): string | null {
    this.keys.refresh()
    try {
      return sign(this.keys, caller, body, said)
    } catch (error) {
      if (error instanceof Refused) return null
      throw error
    }
  }

  /** Keep a copy of what is given up, without what was sealed in it (section 5, "Dead letters"). */
  async #deadLetter({ body, headers, properties, ack, requeue }: Delivery, reason: string) {
    const isSigned = !NEVER_SIGNED.includes(reason)
    const part = (isSigned ? body : body.subarray(0, KEPT_BODY_BYTES)).toString('latin1')
    const kept = Buffer.from(part.replace(/("sealed_\w+"\s*:\s*)"[^"]*"?/g, '$1""'), 'latin1')
    const letter = {
      queue: this.#queue,
      reason,
      since: Math.floor(Date.now() / 1000),
      user_id: properties.userId ?? null,
      reply_to: properties.replyTo ?? null,
      headers: keptHeaders(headers),
      is_whole: kept.equals(body),
    }
    const outcome = await this.publisher.publish('refused', this.#queue, kept, {
      headers: { 'dead-letter': letter },
      persistent: true,
      userId: this.keys.service,
      ...text('contentType', properties.contentType),
      ...text('correlationId', properties.correlationId),
      ...text('messageId', properties.messageId),
      ...text('type', properties.type),
    })
    if (outcome === 'confirmed') return ack()
    this.settings.log('warn', 'dead letter not kept', { reason, outcome })
    await pause(PAUSE_MS)
    requeue()
  }
}

function readRequest<Taken>(contract: RequestContract<any, Taken>, body: Buffer): Taken {
  try {
    return contract.checkRequest(readJson(body))
  } catch (error) {
    const why = error instanceof ContractBroken ? error.message : 'body: is not JSON'
    throw new InvalidRequest(why)
  }
}

/** Keep as many headers as there is room for, what a diagnosis needs first; tables as text. */
function keptHeaders(headers: Headers): Headers {
  const rank = (name: string) => (FIRST_KEPT.includes(name) ? 0 : 1)
  const kept: Headers = {}
  let left = KEPT_HEADERS_BYTES
  for (const name of Object.keys(headers).sort((one, other) => rank(one) - rank(other))) {
    const value = headers[name]
    const isPlain = value === null || ['string', 'boolean'].includes(typeof value)
    const taken = isPlain ? value : JSON.stringify(value)
    const size = Buffer.byteLength(name) + Buffer.byteLength(String(taken))
    if (size > left || Buffer.byteLength(name) > 255) continue
    kept[name] = taken
    left -= size
  }
  return kept
}

/** Pass a property on, where it can be written again: what is not UTF-8 has grown. */
const text = (name: string, value: unknown) =>
  typeof value === 'string' && Buffer.byteLength(value) <= 255 ? { [name]: value } : {}
