// The signature around a body: docs/wire-protocol.md, sections 1, 4 and 6. Node's own crypto only.

import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  timingSafeEqual,
  verify,
} from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'

const SIGNATURE_MAX_BYTES = 4096
const PLAIN_ID = /^[A-Za-z0-9._:-]{1,128}$/
const BASE64URL = /^[A-Za-z0-9_-]*$/
const LOOK_AGAIN_MS = 1000

/** A message that fails a check; `reason` is one of the protocol's names for it. */
export class Refused extends Error {
  constructor(reason, detail = '') {
    super(detail ? `${reason}: ${detail}` : reason)
    this.reason = reason
  }
}

export const privateKey = (jwk) =>
  createPrivateKey({ key: { kty: 'OKP', crv: jwk.crv, x: jwk.x, d: jwk.d }, format: 'jwk' })

export const publicKey = (jwk) =>
  createPublicKey({ key: { kty: 'OKP', crv: jwk.crv, x: jwk.x }, format: 'jwk' })

/** The newest key of a purpose that is in use already: keys are listed newest first. */
export function keyInUse(keys, purpose, now = Date.now() / 1000) {
  const key = keys.find((each) => each.purpose === purpose && each.active_from <= now)
  if (!key) throw new Error(`no ${purpose} key is in use`)
  return key
}

function findKey(keys, kid, purpose) {
  const now = Date.now() / 1000
  const key = keys.find((each) => each.kid === kid && each.purpose === purpose)
  if (!key || (key.retires_at !== null && key.retires_at <= now)) {
    throw new Refused('unknown_key', `no ${purpose} key ${kid}`)
  }
  return key
}

/** A service's private keys and its trust in others, read again when their files change. */
export class Keys {
  #files = []
  #seen = ''
  #lookedAt = 0
  #pairs = new Map()

  constructor(identity, trust) {
    this.identity = identity
    this.trust = trust
  }

  static load(identityFile, trustFile) {
    const keys = new Keys()
    keys.#files = [identityFile, trustFile]
    keys.refresh()
    return keys
  }

  get service() {
    return this.identity.service
  }

  /** Take up new keys; looks at the files once a second at most. */
  refresh() {
    if (!this.#files.length || Date.now() - this.#lookedAt < LOOK_AGAIN_MS) return
    this.#lookedAt = Date.now()
    const seen = this.#files.map((file) => statSync(file).mtimeMs).join()
    if (seen === this.#seen) return
    const [identity, trust] = this.#files.map((file) => JSON.parse(readFileSync(file, 'utf8')))
    Object.assign(this, { identity, trust })
    this.#seen = seen
    this.#pairs.clear()
  }

  peer(service) {
    const services = this.trust.services
    return Object.hasOwn(services, service) ? services[service] : { keys: [], calls: [], publishes: [] }
  }

  /** The id and the key for messages to a service. */
  sendingKey(receiver) {
    const own = keyInUse(this.identity.keys, 'agreement')
    const peer = keyInUse(this.peer(receiver).keys, 'agreement')
    return { kid: `${own.kid}.${peer.kid}`, key: this.#pairKey(own, peer, own.kid, peer.kid) }
  }

  /** The key with which `issuer` signed a message to us. */
  receivingKey(issuer, kid) {
    const [senderKid, receiverKid] = cut(kid, '.')
    const own = findKey(this.identity.keys, receiverKid, 'agreement')
    const peer = findKey(this.peer(issuer).keys, senderKid, 'agreement')
    return this.#pairKey(own, peer, senderKid, receiverKid)
  }

  eventKey(issuer, kid) {
    return publicKey(findKey(this.peer(issuer).keys, kid, 'events'))
  }

  #pairKey(own, peer, senderKid, receiverKid) {
    const info = `postroad/1 HS256 ${senderKid} ${receiverKid}`
    if (!this.#pairs.has(info)) {
      const agreed = diffieHellman({ privateKey: privateKey(own), publicKey: publicKey(peer) })
      this.#pairs.set(info, Buffer.from(hkdfSync('sha256', agreed, '', info, 32)))
    }
    return this.#pairs.get(info)
  }
}

/** Sign a request to a service; `claims` are the ones that are not the same for all requests. */
export function signRequest(keys, receiver, body, claims) {
  const { kid, key } = keys.sendingKey(receiver)
  const protectedPart = Buffer.from(
    JSON.stringify({
      alg: 'HS256',
      b64: false,
      crit: ['b64'],
      kid,
      typ: 'request',
      iss: keys.service,
      aud: receiver,
      ...claims,
    }),
  ).toString('base64url')
  return `${protectedPart}..${hmac(key, protectedPart, body).toString('base64url')}`
}

/** Verify a message to us of one type (`request`, `reply`, `event`), and give its claims. */
export function verifySignature(keys, signature, body, typ) {
  if (typeof signature !== 'string') throw new Refused('unsigned')
  if (signature.length > SIGNATURE_MAX_BYTES) throw new Refused('malformed', 'too long')
  const [protectedPart, code] = cut(signature, '..')
  const claims = readClaims(protectedPart)
  const given = decode(code)
  if (claims.alg !== (claims.typ === 'event' ? 'EdDSA' : 'HS256')) {
    throw new Refused('bad_signature', `a ${claims.typ} is not signed with ${claims.alg}`)
  }
  if (!isAuthentic(keys, claims, protectedPart, body, given)) throw new Refused('bad_signature')
  if (claims.typ !== typ) throw new Refused('wrong_type', claims.typ)
  if (claims.aud !== (typ === 'event' ? 'events' : keys.service)) {
    throw new Refused('wrong_audience', claims.aud)
  }
  return claims
}

/** The hash of a user's token, for the claim `ath`. */
export const tokenHash = (token) => createHash('sha256').update(token).digest('base64url')

/** Whether a right, a whole name or a prefix that ends in `.*`, covers a name. */
export const isCovered = (name, rights) =>
  rights.some(
    (right) => right === name || (right.endsWith('.*') && name.startsWith(right.slice(0, -1))),
  )

function isAuthentic(keys, claims, protectedPart, body, given) {
  if (claims.typ === 'event') {
    return verify(null, signed(protectedPart, body), keys.eventKey(claims.iss, claims.kid), given)
  }
  const expected = hmac(keys.receivingKey(claims.iss, claims.kid), protectedPart, body)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

function readClaims(protectedPart) {
  let claims
  try {
    claims = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(decode(protectedPart)))
  } catch (error) {
    throw new Refused('malformed', error.message)
  }
  const wrong = Object.keys(CLAIMS).filter((name) => !CLAIMS[name](claims?.[name]))
  if (wrong.length) throw new Refused('malformed', wrong.join())
  return claims
}

const isText = (value) => typeof value === 'string'
const isPlainId = (value) => isText(value) && PLAIN_ID.test(value)
const isMoment = (value) => Number.isFinite(value)
const areMicroseconds = (value) =>
  Array.isArray(value) && [2, 3].includes(value.length) && value.every((us) => Number.isSafeInteger(us) && us >= 0)
const isOptional = (check) => (value) => value === undefined || value === null || check(value)

const CLAIMS = {
  alg: (value) => ['HS256', 'EdDSA'].includes(value),
  b64: (value) => value === false,
  crit: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'b64',
  typ: (value) => ['request', 'reply', 'event'].includes(value),
  kid: isText,
  iss: isText,
  aud: isText,
  op: isPlainId,
  jti: isPlainId,
  cid: isPlainId,
  iat: isMoment,
  exp: isMoment,
  rto: isOptional(isText),
  ath: isOptional(isText),
  rid: isOptional(isText),
  cty: isOptional(isText),
  dat: isOptional(isMoment),
  old: (value) => value === undefined || typeof value === 'boolean',
  tms: isOptional(areMicroseconds),
}

function decode(text) {
  if (!BASE64URL.test(text) || text.length % 4 === 1) throw new Refused('malformed', 'base64url')
  return Buffer.from(text, 'base64url')
}

const signed = (protectedPart, body) => Buffer.concat([Buffer.from(`${protectedPart}.`), body])

const hmac = (key, protectedPart, body) =>
  createHmac('sha256', key).update(signed(protectedPart, body)).digest()

function cut(text, separator) {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)]
}
