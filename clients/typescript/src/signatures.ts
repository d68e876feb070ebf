// The signature around a body: a detached JWS (docs/wire-protocol.md, sections 3 to 6).

import { createHash, createHmac, timingSafeEqual, verify } from 'node:crypto'

import { cut, type Keys, Refused } from './keys.js'

export const MESSAGE_MAX_BYTES = 4 * 2 ** 20
export const REQUEST_MAX_BYTES = 64 * 2 ** 10
const SIGNATURE_MAX = 4096
const LATEST = 253_402_300_800 // the year 10000
const NESTED_MAX = 200
const LASTING = ['event', 'job', 'redrive']

/** What a signature says of its message; the wire protocol explains each. */
export interface Claims {
  alg: 'HS256' | 'EdDSA'
  kid: string
  typ: 'request' | 'reply' | 'event' | 'job' | 'redrive'
  iss: string
  aud: string
  op: string
  iat: number
  exp: number
  jti: string
  cid: string
  rto?: string | null
  ath?: string | null
  rid?: string | null
  cty?: string | null
  tms?: number[] | null
}

type Signed = Omit<Claims, 'alg' | 'kid' | 'iss' | 'aud'>

/** Sign a request or a reply to another service. */
export function sign(keys: Keys, receiver: string, body: Buffer, claims: Signed): string {
  const { kid, key } = keys.sendingKey(receiver)
  const fixed = { alg: 'HS256', b64: false, crit: ['b64'], kid, iss: keys.service, aud: receiver }
  const protectedPart = Buffer.from(JSON.stringify({ ...fixed, ...claims })).toString('base64url')
  return `${protectedPart}..${hmac(key, protectedPart, body).toString('base64url')}`
}

/** Verify a message to us of one type, and return its claims; or throw `Refused`. */
export function verifySignature(
  keys: Keys,
  signature: unknown,
  body: Buffer,
  typ: Claims['typ'],
): Claims {
  if (typeof signature !== 'string') throw new Refused('unsigned')
  if (signature.length > SIGNATURE_MAX) throw new Refused('malformed', 'the signature is too long')
  const [protectedPart, code] = cut(signature, '..')
  const claims = readClaims(protectedPart)
  if (!/^[\x00-\x7f]*$/.test(code)) throw new Refused('malformed', 'the signature is not ASCII')
  if (body.length > (typ === 'request' ? REQUEST_MAX_BYTES : MESSAGE_MAX_BYTES)) {
    throw new Refused('malformed', 'the body is too long')
  }
  const isLasting = LASTING.includes(claims.typ)
  if (claims.alg !== (isLasting ? 'EdDSA' : 'HS256')) {
    throw new Refused('bad_signature', `a ${claims.typ} is not signed with ${claims.alg}`)
  }
  if (!(isLasting ? isSigned : isCoded)(keys, claims, protectedPart, body, code)) {
    throw new Refused('bad_signature')
  }
  if (claims.typ !== typ) throw new Refused('wrong_type', `a ${claims.typ} where a ${typ} belongs`)
  if (claims.aud !== (typ === 'event' ? 'events' : keys.service)) {
    throw new Refused('wrong_audience', `for ${claims.aud}`)
  }
  return claims
}

type IsAuthentic = (keys: Keys, claims: Claims, head: string, body: Buffer, code: string) => boolean

/** Codes are compared as text: base64 can be written in several ways, and is right in one. */
const isCoded: IsAuthentic = (keys, { iss, kid }, head, body, code) => {
  const expected = Buffer.from(hmac(keys.receivingKey(iss, kid), head, body).toString('base64url'))
  const given = Buffer.from(code)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

const isSigned: IsAuthentic = (keys, { iss, kid }, head, body, code) => {
  const key = keys.eventKey(iss, kid)
  const given = Buffer.from(code, 'base64url')
  return given.toString('base64url') === code && verify(null, signed(head, body), key, given)
}

const signed = (head: string, body: Buffer) => Buffer.concat([Buffer.from(`${head}.`), body])

const hmac = (key: Buffer, head: string, body: Buffer) =>
  createHmac('sha256', key).update(`${head}.`).update(body).digest()

/** Hash a user's token for the claim `ath`. */
export const tokenHash = (token: string): string =>
  createHash('sha256').update(token).digest('base64url')

function readClaims(protectedPart: string): Claims {
  let claims: Record<string, unknown>
  try {
    if (!/^[\w-]*$/.test(protectedPart)) throw new Error('not base64url')
    claims = Object(readJson(Buffer.from(protectedPart, 'base64url')))
  } catch (error) {
    throw new Refused('malformed', (error as Error).message)
  }
  const wrong = Object.entries(CLAIMS).filter(([name, isRight]) => !isRight(claims[name]))
  if (wrong.length) throw new Refused('malformed', wrong.map(([name]) => name).join())
  return claims as unknown as Claims
}

type Test = (value: unknown) => boolean

const isText: Test = (value) => typeof value === 'string'
const isPlainId: Test = (value) => isText(value) && /^[A-Za-z0-9._:-]{1,128}$/.test(String(value))
const isMoment: Test = (value) => typeof value === 'number' && value >= 0 && value < LATEST
const isCount = (value: unknown, most = Number.MAX_SAFE_INTEGER) =>
  Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= most
const areTimes: Test = (value) =>
  Array.isArray(value) && [2, 3].includes(value.length) && value.every((each) => isCount(each))
const one =
  (...of: unknown[]): Test =>
  (value) =>
    of.includes(value)
const optional =
  (test: Test): Test =>
  (value) =>
    value === undefined || value === null || test(value)

const CLAIMS: Record<string, Test> = {
  alg: one('HS256', 'EdDSA'),
  b64: one(false),
  crit: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'b64',
  typ: one('request', 'reply', ...LASTING),
  kid: isText,
  iss: isText,
  aud: isText,
  op: isPlainId,
  jti: isPlainId,
  cid: isPlainId,
  iat: isMoment,
  exp: isMoment,
  rto: optional(isText),
  ath: optional(isText),
  rid: optional(isText),
  cty: optional(isText),
  dat: optional(isMoment),
  old: one(undefined, true, false),
  tms: optional(areTimes),
  org: optional(isText),
  nth: (value) => value === undefined || isCount(value, 1_000_000),
}

/** Read JSON as strictly as our services do (docs/wire-protocol.md, section 11). */
export function readJson(bytes: Buffer): unknown {
  const value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  checkDepth(value, 0)
  return value
}

function checkDepth(value: unknown, depth: number): void {
  if (typeof value === 'string' && !value.isWellFormed()) throw new Error('a lone surrogate')
  if (typeof value !== 'object' || value === null) return
  if (depth >= NESTED_MAX) throw new Error('nested too deep')
  for (const [key, each] of Object.entries(value)) {
    checkDepth(key, depth)
    checkDepth(each, depth + 1)
  }
}
