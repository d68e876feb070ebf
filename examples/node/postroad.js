// A client of Postroad's services: signed requests, verified replies, events.
//
//   const client = await connect()
//   const page = await client.call('catalog.products.list', { limit: 5 })
//   await client.listen(['auth.login.*'], (event) => console.log(event))
//   await client.close()

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

import amqp from 'amqplib'

import { isCovered, Keys, Refused, signRequest, tokenHash, verifySignature } from './envelope.js'

const LONGEST_PAUSE_MS = 5000

/** An error that a service answered, or that kept the request from its answer. */
export class ServiceError extends Error {
  constructor(code, detail, retryAfterS = null) {
    super(detail)
    this.code = code
    this.retryAfterS = retryAfterS
  }
}

/** Say in one line what went wrong. */
export const describe = (error) =>
  error instanceof ServiceError ? `${error.code}: ${error.message}` : `postroad: ${error.message}`

const NEEDED = ['BROKER_URLS', 'BROKER_PASSWORD_FILE', 'IDENTITY_FILE', 'TRUST_FILE']

/** Connect as the environment says; see README.md. */
export async function connect(environment = process.env) {
  const missing = NEEDED.filter((variable) => !environment[variable])
  if (missing.length) throw new Error(`not set: ${missing.join(', ')}`)
  const client = new Client(
    environment.BROKER_URLS.split(','),
    readFileSync(environment.BROKER_PASSWORD_FILE, 'utf8').trim(),
    Keys.load(environment.IDENTITY_FILE, environment.TRUST_FILE),
    {
      ca: environment.BROKER_CA_FILE,
      cert: environment.BROKER_CERTIFICATE_FILE,
      key: environment.BROKER_KEY_FILE,
    },
  )
  await client.open()
  return client
}

export class Client {
  #urls
  #password
  #keys
  #tlsFiles
  #line = null // what is open: both connections, their channels, where replies go
  #waiting = new Map() // calls under way, by message id
  #listeners = []
  #isClosed = false

  /** `tlsFiles`, for amqps://: `ca`, whom to trust as the broker; `cert` and `key`, who we are. */
  constructor(urls, password, keys, tlsFiles = {}) {
    this.#urls = urls
    this.#password = password
    this.#keys = keys
    this.#tlsFiles = tlsFiles
  }

  /** Connect; when that is lost later, it comes back by itself. */
  async open() {
    const reasons = []
    for (const url of this.#urls) {
      try {
        return await this.#connect(new URL(url.trim()))
      } catch (error) {
        const { message } = error.errors?.[0] ?? error // of all addresses that a name has
        reasons.push(`${url.trim()}: ${message}`)
      }
    }
    throw new Error(`cannot connect to the broker: ${reasons.join('; ')}`)
  }

  /**
   * Send a request, and give its reply; an error is a ServiceError with its `code`. Where something
   * is sealed for this one request, `request` is a function of its `id` and deadline `exp`.
   */
  async call(method, request = {}, { timeoutMs = 5000, token, correlationId } = {}) {
    this.#keys.refresh()
    if (!isCovered(method, this.#keys.peer(this.#keys.service).calls)) {
      // the broker would refuse it by closing the channel, and end every other call on it
      throw new ServiceError('not_authorised', `${this.#keys.service} may not call ${method}`)
    }
    const line = this.#line
    if (!line) throw new ServiceError('unavailable', 'the message broker is away', 1)
    const id = newId()
    const service = method.split('.', 1)[0]
    return new Promise((resolve, reject) => {
      const settle = (act) => (value) => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        act(value)
      }
      const call = { service, method, resolve: settle(resolve), reject: settle(reject) }
      const late = new ServiceError('reply_timeout', 'no reply before the deadline')
      const timer = setTimeout(() => call.reject(late), timeoutMs)
      this.#waiting.set(id, call) // before publishing: a reply may be quick
      try {
        this.#publish(line, call, id, request, { timeoutMs, token, correlationId })
      } catch (error) {
        call.reject(error)
      }
    })
  }

  /** Hear events by their names, or by rights to them, such as `auth.*`: all of that prefix. */
  async listen(patterns, onEvent) {
    this.#keys.refresh()
    const rights = this.#keys.peer(this.#keys.service).listens ?? []
    for (const pattern of patterns) {
      if (!isCovered(pattern, rights)) {
        throw new ServiceError(
          'not_authorised',
          `${this.#keys.service} may not listen to ${pattern}, but to: ${rights.join(', ') || 'nothing'}`,
        )
      }
    }
    const listener = { patterns, onEvent }
    this.#listeners.push(listener)
    if (this.#line) await this.#hear(this.#line, listener)
  }

  async close() {
    this.#isClosed = true
    const line = this.#line
    this.#lost(line)
    await Promise.allSettled((line?.connections ?? []).map((connection) => connection.close()))
  }

  async #connect(url) {
    const line = { connections: [] }
    try {
      // two: a broker that is short of memory stops reading what is published, not what is acked
      const publishing = await this.#dial(url, line)
      const consuming = await this.#dial(url, line)
      line.publisher = await publishing.createConfirmChannel()
      line.consumer = await consuming.createChannel()
      for (const channel of [line.publisher, line.consumer]) {
        channel.on('error', (error) => console.error(`postroad: ${error.message}`))
        channel.on('close', () => this.#lost(line))
      }
      line.publisher.on('return', ({ properties }) => {
        const service = this.#waiting.get(properties.messageId)?.service
        this.#fail(properties.messageId, 'unavailable', `there is no queue for ${service}`)
      })
      line.replies = `reply.${this.#keys.service}.${newId()}`
      await this.#ownQueue(line, 'rpc.replies', [line.replies], (m) => this.#onReply(m))
      for (const listener of this.#listeners) await this.#hear(line, listener)
      if (this.#isClosed) throw new Error('the client is closed')
      this.#line = line
    } catch (error) {
      for (const connection of line.connections) connection.close().catch(() => {})
      throw error
    }
  }

  async #dial(url, line) {
    const connection = await amqp.connect(
      {
        protocol: url.protocol.slice(0, -1),
        hostname: url.hostname,
        port: Number(url.port), // 0 is the protocol's own
        username: this.#keys.service,
        password: this.#password,
        vhost: decodeURIComponent(url.pathname.slice(1)),
        heartbeat: 10,
      },
      this.#readTlsFiles(),
    )
    line.connections.push(connection)
    connection.on('error', (error) => console.error(`postroad: ${error.message}`))
    connection.on('close', () => this.#lost(line))
    return connection
  }

  /** Read them anew for each connection: certificates are renewed. */
  #readTlsFiles() {
    const given = Object.entries(this.#tlsFiles).filter(([, file]) => file)
    return Object.fromEntries(given.map(([option, file]) => [option, readFileSync(file)]))
  }

  async #ownQueue(line, exchange, routingKeys, onMessage) {
    const options = { exclusive: true, autoDelete: true, durable: false }
    const { queue } = await line.consumer.assertQueue('', {
      ...options,
      arguments: { 'x-queue-type': 'classic' },
    })
    for (const key of routingKeys) await line.consumer.bindQueue(queue, exchange, key)
    const onDelivery = (message) => (message ? onMessage(message) : this.#lost(line))
    await line.consumer.consume(queue, onDelivery, { noAck: true })
  }

  #publish(line, call, id, request, { timeoutMs, token, correlationId = id }) {
    const now = Date.now()
    const exp = (now + timeoutMs) / 1000
    const content = typeof request === 'function' ? request({ id, exp }) : request
    const body = Buffer.from(JSON.stringify(content))
    const signature = signRequest(this.#keys, call.service, body, {
      op: call.method,
      iat: now / 1000,
      exp,
      jti: id,
      cid: correlationId,
      rto: line.replies,
      ...(token && { ath: tokenHash(token) }),
    })
    const properties = {
      mandatory: true,
      contentType: 'application/json',
      type: call.method,
      messageId: id,
      correlationId,
      replyTo: line.replies,
      expiration: String(Math.max(1, Math.floor(timeoutMs))),
      timestamp: Math.floor(now / 1000),
      userId: this.#keys.service,
      headers: { signature, ...(token && { authorization: token }) },
    }
    line.publisher.publish('rpc', call.method, body, properties, (error) => {
      // any other error comes with the end of the channel
      if (error?.message === 'message nacked') {
        this.#fail(id, 'overloaded', `the queue of ${call.service} is full`)
      }
    })
  }

  #onReply(message) {
    let claims
    try {
      claims = this.#verified(message, 'reply')
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return console.error(`postroad: a reply was refused: ${error.message}`)
    }
    const call = this.#waiting.get(claims.rid)
    if (!call || call.service !== claims.iss || call.method !== claims.op) return // too late
    let body
    try {
      body = JSON.parse(message.content)
    } catch {
      return call.reject(new ServiceError('peer_error', 'the reply cannot be read'))
    }
    if (claims.cty !== 'problem+json') return call.resolve(body)
    call.reject(new ServiceError(body.code, body.detail, body.retry_after_s))
  }

  async #hear(line, { patterns, onEvent }) {
    // AMQP's `*` is one word, and a right's any number
    const keys = patterns.map((pattern) => pattern.replace(/\.\*$/, '.#'))
    await this.#ownQueue(line, 'events', keys, (message) => {
      try {
        const claims = this.#verified(message, 'event')
        if (message.properties.userId !== claims.iss) throw new Refused('sender_mismatch')
        if (claims.exp <= Date.now() / 1000) throw new Refused('expired')
        if (!isCovered(claims.op, this.#keys.peer(claims.iss).publishes)) {
          throw new Refused('caller_not_allowed', `${claims.iss} may not publish ${claims.op}`)
        }
        const body = JSON.parse(message.content)
        onEvent({ name: claims.op, id: claims.jti, from: claims.iss, body })
      } catch (error) {
        console.error(`postroad: an event was dropped: ${error.message}`)
      }
    })
  }

  #verified(message, typ) {
    this.#keys.refresh()
    return verifySignature(this.#keys, message.properties.headers.signature, message.content, typ)
  }

  #fail(id, code, detail) {
    this.#waiting.get(id)?.reject(new ServiceError(code, detail, 1))
  }

  /** Give up a lost line with the calls on it, and connect anew. */
  #lost(line) {
    if (!line || line !== this.#line) return
    this.#line = null
    const what = 'the connection was lost while the request was under way'
    for (const id of [...this.#waiting.keys()]) this.#fail(id, 'outcome_unknown', what)
    if (this.#isClosed) return
    for (const connection of line.connections) connection.close().catch(() => {})
    this.#comeBack()
  }

  async #comeBack() {
    for (let delay = 100; !this.#isClosed; delay = Math.min(delay * 2, LONGEST_PAUSE_MS)) {
      await pause(delay * (0.5 + Math.random() / 2))
      try {
        return await this.open()
      } catch (error) {
        console.error(`postroad: ${error.message}`)
      }
    }
  }
}

/** A UUIDv7 (RFC 9562 section 5.7). */
function newId() {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(Date.now(), 0, 6)
  bytes[6] = 0x70 | (bytes[6] & 0x0f)
  bytes[8] = 0x80 | (bytes[8] & 0x3f)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
