// A service's keys and its trust in others (docs/wire-protocol.md, sections 1, 4 and 10).

import { createPrivateKey, createPublicKey, diffieHellman, hkdfSync, type KeyObject } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'

import { type Log, type Source } from './settings.js'

type Purpose = 'agreement' | 'sealing' | 'events' | 'tokens'

export interface Jwk {
  crv: 'X25519' | 'Ed25519'
  kid: string
  purpose: Purpose
  x: string
  d?: string
  active_from?: number
  retires_at?: number | null
}

export interface Identity {
  service: string
  keys: Jwk[]
}

export interface TrustedService {
  keys: Jwk[]
  calls?: string[]
  publishes?: string[]
  listens?: string[]
  enqueues?: string[]
  acts_for_users?: boolean
  issues_tokens?: boolean
}

export interface TrustBundle {
  services: Record<string, TrustedService>
}

/** A message fails a check: it is not answered. `reason` is the wire protocol's name for it. */
export class Refused extends Error {
  constructor(
    readonly reason: string,
    readonly detail = '',
  ) {
    super(detail ? `${reason}: ${detail}` : reason)
  }
}

const LOOK_AGAIN_MS = 1000
const RIGHTS = { request: 'calls', event: 'publishes', job: 'enqueues', listener: 'listens' } as const

/** One service's keys; what is read from files is read again when they change. */
export class Keys {
  #pairs = new Map<string, Buffer>()
  #versions = ''
  #lookedAt = 0

  constructor(
    public identity: Identity,
    public trust: TrustBundle,
    private readonly sources: readonly [Source, Source] | null = null,
    private readonly log: Log = () => {},
  ) {}

  static load(identity: Source, trust: Source, log: Log): Keys {
    const keys = new Keys(readIdentity(identity), readTrust(trust), [identity, trust], log)
    keys.#versions = keys.#look()
    return keys
  }

  get service(): string {
    return this.identity.service
  }

  /** Take up new keys; looks at the files once a second at most, and keeps what cannot be read. */
  refresh(): void {
    if (!this.sources || Date.now() - this.#lookedAt < LOOK_AGAIN_MS) return
    this.#lookedAt = Date.now()
    try {
      const versions = this.#look()
      if (versions === this.#versions) return
      const [identity, trust] = [readIdentity(this.sources[0]), readTrust(this.sources[1])]
      Object.assign(this, { identity, trust })
      this.#versions = versions
      this.#pairs.clear()
      this.log('info', 'keys renewed')
    } catch (error) {
      this.log('error', 'keys not renewed', { reason: (error as Error).message })
    }
  }

  #look(): string {
    const files = (this.sources ?? []).flatMap(({ file }) => file ?? [])
    return files.map((file) => statSync(file).mtimeMs).join()
  }

  trusted(service: string): TrustedService | undefined {
    const { services } = this.trust
    return Object.hasOwn(services, service) ? services[service] : undefined
  }

  /** Return whether a service may send a message of a type and name, or listen to an event. */
  may(service: string, type: keyof typeof RIGHTS, name: string): boolean {
    return isCovered(name, this.trusted(service)?.[RIGHTS[type]] ?? [])
  }

  /** Return the key for messages to a service, and its id. */
  sendingKey(receiver: string): { kid: string; key: Buffer } {
    const own = keyInUse(this.identity.keys, 'agreement')
    const peer = keyInUse(this.trusted(receiver)?.keys ?? [], 'agreement')
    return { kid: `${own.kid}.${peer.kid}`, key: this.#pairKey(own, peer, own.kid, peer.kid) }
  }

  /** Return the key with which a service signed a message to us. */
  receivingKey(issuer: string, kid: string): Buffer {
    const [sender, receiver] = cut(kid, '.')
    const own = findKey(this.identity.keys, receiver, 'agreement')
    const peer = findKey(this.trusted(issuer)?.keys ?? [], sender, 'agreement')
    return this.#pairKey(own, peer, sender, receiver)
  }

  /** Return the key with which a service signs its events and jobs. */
  eventKey(issuer: string, kid: string): KeyObject {
    return publicKey(findKey(this.trusted(issuer)?.keys ?? [], kid, 'events'))
  }

  /** Return the key of a user's access token, of a service that issues them. */
  tokenKey(kid: string): KeyObject {
    const issuers = Object.values(this.trust.services).filter((each) => each.issues_tokens)
    return publicKey(findKey(issuers.flatMap(({ keys }) => keys), kid, 'tokens'))
  }

  #pairKey(own: Jwk, peer: Jwk, sender: string, receiver: string): Buffer {
    const info = `postroad/1 HS256 ${sender} ${receiver}`
    let key = this.#pairs.get(info)
    if (!key) {
      const agreed = diffieHellman({ privateKey: privateKey(own), publicKey: publicKey(peer) })
      key = Buffer.from(hkdfSync('sha256', agreed, '', info, 32))
      this.#pairs.set(info, key)
    }
    return key
  }
}

export const privateKey = ({ crv, x, d }: Jwk): KeyObject =>
  createPrivateKey({ key: { kty: 'OKP', crv, x, d }, format: 'jwk' })

export const publicKey = ({ crv, x }: Pick<Jwk, 'crv' | 'x'>): KeyObject =>
  createPublicKey({ key: { kty: 'OKP', crv, x }, format: 'jwk' })

/** Return the newest key of a purpose that is in use already: keys are listed newest first. */
export function keyInUse(keys: Jwk[], purpose: Purpose): Jwk {
  const now = Date.now() / 1000
  const key = keys.find((each) => each.purpose === purpose && (each.active_from ?? 0) <= now)
  if (!key) throw new Refused('unknown_key', `no ${purpose} key is in use`)
  return key
}

/** Return the keys of a purpose that are accepted still. */
export function accepted(keys: Jwk[], purpose: Purpose): Jwk[] {
  const now = Date.now() / 1000
  return keys.filter((each) => each.purpose === purpose && (each.retires_at ?? Infinity) > now)
}

function findKey(keys: Jwk[], kid: string, purpose: Purpose): Jwk {
  const key = accepted(keys, purpose).find((each) => each.kid === kid)
  if (!key) throw new Refused('unknown_key', `no ${purpose} key ${JSON.stringify(kid.slice(0, 100))}`)
  return key
}

/** Return whether rights, each a whole name or a prefix `name.*`, cover a name. */
export const isCovered = (name: string, rights: readonly string[]): boolean =>
  rights.some(
    (right) => right === name || (right.endsWith('.*') && name.startsWith(right.slice(0, -1))),
  )

/** Cut a text at the first separator. */
export function cut(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)]
}

function readIdentity(source: Source): Identity {
  const { service, keys } = readObject(source)
  if (typeof service !== 'string' || !Array.isArray(keys)) {
    throw new Error(`${source.name} is not an identity file`)
  }
  return { service, keys }
}

function readTrust(source: Source): TrustBundle {
  const { services } = readObject(source)
  const all = typeof services === 'object' && services !== null ? Object.values(services) : [{}]
  if (!all.every((service) => Array.isArray(service?.keys))) {
    throw new Error(`${source.name} is not a trust bundle`)
  }
  return { services: services as TrustBundle['services'] }
}

function readObject({ name, file, text }: Source): Record<string, unknown> {
  const content = file === undefined ? text : readFileSync(file, 'utf8')
  try {
    return Object(JSON.parse(content ?? ''))
  } catch {
    throw new Error(`${name} is not JSON`)
  }
}
