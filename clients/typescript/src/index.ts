// What a service or a caller imports; the contracts are in `postroad/contracts`.
//
//   const postroad = await connect()
//   const page = await postroad.call(ListProducts, { limit: 5 })
//   await postroad.close()

import { Publisher } from './broker.js'
import { type CallOptions, Calls, type Sending } from './calls.js'
import { type EventContract, type RequestContract } from './contract.js'
import { events as known, ListRevocations } from './contracts.js'
import { listening, type Received, RevocationFeed } from './events.js'
import { isCovered, Keys } from './keys.js'
import { unseal } from './sealing.js'
import { type Answering, Server } from './server.js'
import { readSettings, type Settings } from './settings.js'

export { type CallOptions, type Sending } from './calls.js'
export { currentContext, type RequestContext, type Trace, type User } from './context.js'
export * from './contract.js'
export { type Received } from './events.js'
export { newPasswordContext, passwordContext, REFRESH_CONTEXT } from './sealing.js'
export { answer, type Answering, type Handler } from './server.js'
export { type Log, readSettings, type Settings, SettingsError } from './settings.js'

type KnownEvent = (typeof known)[number]

export interface ServeOptions {
  /** Whether to follow which sessions have ended, to refuse their users' tokens (true). */
  followsRevocations?: boolean
}

/** Connect as the environment says; `settings` are in its stead, each by itself. */
export async function connect(settings: Partial<Settings> = {}): Promise<Postroad> {
  const postroad = new Postroad({ ...readSettings(), ...settings })
  await postroad.opened()
  return postroad
}

/** Calls services, hears events and answers requests with one service's identity. */
export class Postroad {
  readonly #keys: Keys
  readonly #publisher: Publisher
  readonly #calls: Calls
  readonly #mayCall: boolean
  #servers: Server[] = []
  #closing: Array<() => Promise<void>> = []

  /** Begin to connect; while the broker is away, calls end as `Unavailable`. It comes back by itself. */
  constructor(private readonly settings: Settings) {
    this.#keys = Keys.load(settings.identity, settings.trust, settings.log)
    this.#publisher = new Publisher(settings, this.#keys.service)
    this.#calls = new Calls(settings, this.#keys, this.#publisher)
    this.#mayCall = Boolean(this.#keys.trusted(this.#keys.service)?.calls?.length)
    this.#publisher.link.start()
    if (this.#mayCall) this.#calls.link.start()
  }

  get service(): string {
    return this.#keys.service
  }

  /** Whether a call would be sent. */
  get isConnected(): boolean {
    return this.#publisher.link.isOpen && this.#calls.link.isOpen
  }

  /** Wait until a call would be sent; false when that is not within `connectTimeoutS`. */
  async opened(): Promise<boolean> {
    const timeoutMs = this.settings.connectTimeoutS * 1000
    const links = [this.#publisher.link, ...(this.#mayCall ? [this.#calls.link] : [])]
    return (await Promise.all(links.map((link) => link.opened(timeoutMs)))).every(Boolean)
  }

  /**
   * Send a request and await its reply. Within a handler it takes no longer than the request being
   * answered has left, and bears that one's correlation id; its user is passed on by `user` alone.
   * It ends as a `ServiceError`: one that the service answered, or `NotAuthorised`, `Unavailable`,
   * `Overloaded`, `ReplyTimeout`, `OutcomeUnknown` or `PeerError`.
   */
  call<Sent, Reply>(
    contract: RequestContract<Sent, any, Reply>,
    request: NoInfer<Sent> | ((sending: Sending) => NoInfer<Sent>),
    options: CallOptions = {},
  ): Promise<Reply> {
    return this.#calls.call(contract, request, options) as Promise<Reply>
  }

  /**
   * Hear events until `close`, named by their contracts; it comes back when the connection is lost,
   * but what happens meanwhile is missed. `onOpen` is called each time it begins to hear.
   */
  async listen<E extends EventContract<any, any>>(
    events: readonly E[],
    onEvent: (event: Received<E>) => unknown,
    onOpen: () => void = () => {},
  ): Promise<void> {
    const hearing = { events, onEvent, onOpen, onRefused: () => {} }
    const link = listening(this.settings, this.#keys, hearing)
    this.#closing.push(() => link.close())
    link.start()
    await link.opened(this.settings.connectTimeoutS * 1000)
  }

  /** Answer our requests until `close`, each contract by its function. */
  async serve(
    answers: readonly Answering[],
    { followsRevocations = true }: ServeOptions = {},
  ): Promise<void> {
    const foreign = answers.find(({ contract }) => contract.service !== this.service)
    if (foreign) throw new TypeError(`${foreign.contract.method} is not for ${this.service}`)
    let revoked = new Map<string, number>()
    if (followsRevocations) {
      const list = (request: ListRevocations) => this.call(ListRevocations, request)
      const feed = new RevocationFeed(this.settings, this.#keys, list)
      revoked = feed.revoked
      feed.start()
      this.#closing.push(() => feed.close())
    }
    const server = new Server(this.settings, this.#keys, this.#publisher, answers, revoked)
    this.#servers.push(server)
    server.link.start()
    await server.link.opened(this.settings.connectTimeoutS * 1000)
  }

  /** Decrypt what was sealed to us, or throw. */
  open(sealed: string, context: string): string {
    return unseal(this.#keys, sealed, context)
  }

  /** Take no more requests, finish those under way, and close; calls end as `OutcomeUnknown`. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.drain()))
    await Promise.all(this.#closing.map((close) => close()))
    await this.#calls.link.close()
    await this.#publisher.link.close()
  }
}

/** Return the events of `postroad/contracts` that a name, or a right such as `auth.*`, covers. */
export function eventsNamed(...rights: string[]): KnownEvent[] {
  const found = known.filter(({ name }) => isCovered(name, rights))
  if (!found.length) throw new RangeError(`no event is named ${rights.join(', ')}`)
  return found
}
