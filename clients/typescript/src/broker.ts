// Connections to RabbitMQ that come back, and what they carry (docs/wire-protocol.md, section 2).

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

import amqp, {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  type ConsumeMessage,
  type Options,
} from 'amqplib'

import { readPassword, type Settings } from './settings.js'

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5000
const SETTLED_MS = 5000 // a connection that held this long starts the pauses afresh
const GOODBYE_MS = 1000
const LOOK_MS = 10

export type Headers = Record<string, unknown>

export interface Delivery {
  readonly body: Buffer
  readonly properties: ConsumeMessage['properties']
  readonly headers: Headers
  readonly redelivered: boolean
  readonly ack: () => void
  readonly requeue: () => void
}

/** Keeps one connection with one channel open: connects, readies it, and begins again when it goes. */
export class Link {
  #isOpen = false
  #isBlocked = false
  #fail: (reason: string) => void = () => {}
  readonly #closing = new AbortController()
  #keeper: Promise<void> | null = null

  /** `setUp` readies each new channel; `onLost` hears that it, and all under way on it, is gone. */
  constructor(
    private readonly settings: Settings,
    private readonly service: string,
    private readonly role: string,
    private readonly setUp: (channel: ConfirmChannel) => Promise<void>,
    private readonly onLost: () => void = () => {},
  ) {}

  get isOpen(): boolean {
    return this.#isOpen && !this.#isBlocked
  }

  start(): void {
    this.#keeper = this.#keepOpen()
  }

  /** Wait until it is open, for no longer than a time; false if it is not by then. */
  async opened(timeoutMs: number): Promise<boolean> {
    const deadline = Date.now() + timeoutMs
    while (!this.isOpen && Date.now() < deadline && !this.#closing.signal.aborted) await pause(LOOK_MS)
    return this.isOpen
  }

  /** Give the connection up, as if it had been lost, and connect anew. */
  fail(reason: string): void {
    this.#fail(reason)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#fail('closed')
    await this.#keeper
  }

  async #keepOpen(): Promise<void> {
    let delayMs = FIRST_PAUSE_MS
    for (let turn = 0; !this.#closing.signal.aborted; turn++) {
      const { brokerUrls } = this.settings
      const url = brokerUrls[turn % brokerUrls.length] ?? ''
      const began = Date.now()
      const reason = await this.#hold(url).catch(describe)
      if (this.#closing.signal.aborted) return
      if (Date.now() - began > SETTLED_MS) delayMs = FIRST_PAUSE_MS
      this.settings.log('warn', 'broker connection lost', { role: this.role, broker: url, reason })
      const signal = this.#closing.signal
      await pause(delayMs * (0.5 + Math.random() / 2), null, { signal }).catch(() => {})
      delayMs = Math.min(delayMs * 2, LONGEST_PAUSE_MS)
    }
  }

  /** Connect to one broker and stay until the connection goes; return the reason. */
  async #hold(url: string): Promise<string> {
    const lost = new Promise<string>((resolve) => (this.#fail = resolve))
    let connection: ChannelModel | null = null
    try {
      connection = await this.#connect(new URL(url))
      readWhatAmqplibCannot(connection)
      connection.on('error', (error) => this.#fail(describe(error)))
      connection.on('close', () => this.#fail('the connection was closed'))
      connection.on('blocked', () => (this.#isBlocked = true))
      connection.on('unblocked', () => (this.#isBlocked = false))
      const channel = await connection.createConfirmChannel()
      channel.on('error', (error) => this.#fail(describe(error)))
      channel.on('close', () => this.#fail('the channel was closed'))
      const reason = await Promise.race([this.setUp(channel), lost])
      if (typeof reason === 'string') return reason
      this.#isOpen = !this.#closing.signal.aborted
      return await lost
    } finally {
      this.#isOpen = this.#isBlocked = false
      this.onLost()
      const goodbye = connection?.close().catch(() => {})
      await Promise.race([goodbye, pause(goodbye ? GOODBYE_MS : 0, null, { ref: false })])
    }
  }

  #connect(url: URL): Promise<ChannelModel> {
    const { password, tls, heartbeatS, connectTimeoutS } = this.settings
    const isEncrypted = url.protocol === 'amqps:'
    return amqp.connect(
      {
        protocol: isEncrypted ? 'amqps' : 'amqp',
        hostname: url.hostname.replace(/^\[|\]$/g, ''),
        port: Number(url.port), // 0 is the protocol's own
        username: this.service,
        password: readPassword(password),
        vhost: url.pathname.slice(1) || '/', // amqplib decodes it
        heartbeat: heartbeatS,
      },
      {
        noDelay: true,
        timeout: connectTimeoutS * 1000,
        clientProperties: { connection_name: `${this.service} ${this.role}` },
        ...(isEncrypted && { rejectUnauthorized: true, minVersion: 'TLSv1.2' }),
        ...(isEncrypted && tls && readAll(tls)),
      },
    )
  }
}

const readAll = ({ ca, cert, key }: { ca: string; cert: string; key: string }) => ({
  ca: readFileSync(ca),
  cert: readFileSync(cert),
  key: readFileSync(key),
})

function describe(error: Error & { errors?: Error[] }): string {
  return (error.errors?.[0] ?? error).message // of all addresses that a name has
}

const HEADER_FRAME = 2
const require = createRequire(import.meta.url)
const { parseFrame, decodeFrame } = require(
  join(dirname(require.resolve('amqplib')), 'lib/frame.js'),
) as {
  parseFrame: (bytes: Buffer, most: number) => (Frame & { rest: Buffer }) | false
  decodeFrame: (frame: Frame) => object
}

interface Frame {
  type: number
  channel: number
  payload: Buffer
}

interface Connected {
  rest: Buffer
  maxFrameSize: number
  stream: { read: () => Buffer | null }
  recvSinceLastCheck: boolean
  recvFrame: () => object | false
}

/**
 * Take a message whose headers amqplib cannot read (a type that it does not know, tables nested too
 * deep) for one without. It would end the connection, and the broker deliver the message for ever.
 */
function readWhatAmqplibCannot(model: ChannelModel): void {
  const connection = model.connection as unknown as Connected
  connection.recvFrame = () => {
    for (;;) {
      const frame = parseFrame(connection.rest, connection.maxFrameSize)
      if (frame) {
        connection.rest = frame.rest
        return decode(frame)
      }
      const incoming = connection.stream.read()
      if (incoming === null) return false
      connection.recvSinceLastCheck = true
      connection.rest = Buffer.concat([connection.rest, incoming])
    }
  }
}

function decode(frame: Frame): object {
  try {
    return decodeFrame(frame)
  } catch (error) {
    if (frame.type !== HEADER_FRAME) throw error
    const [id, size] = [frame.payload.readUInt16BE(0), Number(frame.payload.readBigUInt64BE(4))]
    return { id, channel: frame.channel, size, fields: {} }
  }
}

export type Outcome = 'confirmed' | 'returned' | 'refused' | 'lost'

/** Publishes with confirms and `mandatory`, on a connection that consumes nothing. */
export class Publisher {
  readonly link: Link
  #channel: ConfirmChannel | null = null
  #returned = new Set<unknown>()

  constructor(settings: Settings, service: string) {
    this.link = new Link(
      settings,
      service,
      'publisher',
      async (channel) => {
        channel.on('return', ({ properties }) => this.#returned.add(properties.messageId))
        this.#channel = channel
      },
      () => {
        this.#channel = null
        this.#returned.clear()
      },
    )
  }

  /** Publish a message, and wait for its fate; null: there is no connection, nothing was sent. */
  publish(exchange: string, key: string, body: Buffer, options: Options.Publish) {
    const channel = this.link.isOpen ? this.#channel : null
    return new Promise<Outcome | null>((resolve) => {
      if (!channel) return resolve(null)
      const onConfirm = (error?: Error) => {
        if (this.#returned.delete(options.messageId)) resolve('returned')
        else if (!error) resolve('confirmed')
        else resolve(error.message === 'message nacked' ? 'refused' : 'lost')
      }
      try {
        channel.publish(exchange, key, body, { ...options, mandatory: true }, onConfirm)
      } catch (error) {
        if (!(error instanceof amqp.IllegalOperationError)) throw error
        resolve(null) // the channel has just been closed
      }
    })
  }
}

/** Consume a queue; when the broker ends the consumer, the link is given up. */
export async function consume(
  link: Link,
  channel: Channel,
  queue: string,
  onDelivery: (delivery: Delivery) => void,
  options: Options.Consume = {},
): Promise<string> {
  const settling = (settle: () => void) => () => {
    try {
      settle()
    } catch {
      // the channel is closed: the broker delivers it again
    }
  }
  const take = (message: ConsumeMessage | null): void => {
    if (!message) return link.fail('the broker ended the consumer')
    onDelivery({
      body: message.content,
      properties: message.properties,
      headers: message.properties.headers ?? {},
      redelivered: message.fields.redelivered,
      ack: settling(() => channel.ack(message)),
      requeue: settling(() => channel.reject(message, true)),
    })
  }
  return (await channel.consume(queue, take, options)).consumerTag
}

/** Declare a queue that the broker names, bind it, and consume it without acks. */
export async function consumeOwnQueue(
  link: Link,
  channel: Channel,
  exchange: string,
  keys: readonly string[],
  onDelivery: (delivery: Delivery) => void,
): Promise<void> {
  const { queue } = await channel.assertQueue('', {
    exclusive: true,
    autoDelete: true,
    durable: false,
    arguments: { 'x-queue-type': 'classic' },
  })
  for (const key of keys) await channel.bindQueue(queue, exchange, key)
  await consume(link, channel, queue, onDelivery, { noAck: true })
}
