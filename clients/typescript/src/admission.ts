// Which requests are answered: every check, in one order (docs/wire-protocol.md, section 5).

import { verify } from 'node:crypto'

import { type Delivery } from './broker.js'
import { type User } from './context.js'
import {
  InvalidRequest,
  NotAuthenticated,
  NotAuthorised,
  type RequestContract,
} from './contract.js'
import { type Keys, Refused } from './keys.js'
import { type Claims, readJson, tokenHash, verifySignature } from './signatures.js'

const LEEWAY_S = 5 // how far two services' clocks may be apart
const LONGEST_DEADLINE_S = 60
const REMEMBERED_MAX = 200_000
const TOKEN_MAX = 4096

/** Ended sessions, until the last of their access tokens expires. */
export type Revoked = Map<string, number>

/** The deadline has just passed: nobody waits for the answer. */
export class Late extends Error {}

/** Remembers message ids until the deadline refuses a copy; it belongs to one process. */
class ReplayStore {
  #seen = new Map<string, number>()

  /** Remember a message; false when it had been seen before. */
  isNew({ iss, jti, exp }: Claims): boolean {
    const now = Date.now() / 1000
    for (const [key, until] of this.#seen) {
      if (until > now && this.#seen.size < REMEMBERED_MAX) break
      this.#seen.delete(key)
    }
    const key = `${iss} ${jti}`
    if (this.#seen.has(key)) return false
    this.#seen.set(key, exp + LEEWAY_S)
    return true
  }
}

/** Decides on requests to one service. */
export class Admission {
  #replays = new ReplayStore()

  constructor(
    private readonly keys: Keys,
    private readonly revoked: Revoked,
  ) {}

  /** Check all that needs no contract; or throw `Refused`, or `Late`. */
  verify({ body, headers, properties, redelivered }: Delivery): Claims {
    this.keys.refresh()
    const claims = verifySignature(this.keys, headers.signature, body, 'request')
    const { iss, op, exp, rto, ath } = claims
    const now = Date.now() / 1000
    const token = headers.authorization
    if (properties.userId !== iss) throw new Refused('sender_mismatch') // the broker vouches for it
    if ('CC' in headers || 'BCC' in headers) throw new Refused('carbon_copy')
    if (!rto || rto !== properties.replyTo || !rto.startsWith(`reply.${iss}.`)) {
      throw new Refused('wrong_reply_address')
    }
    if (exp < now - LEEWAY_S) throw new Refused('expired')
    if (exp > now + LONGEST_DEADLINE_S + LEEWAY_S) throw new Refused('deadline_too_far')
    if (!this.keys.may(iss, 'request', op)) {
      throw new Refused('caller_not_allowed', `${iss} may not call ${op}`)
    }
    const isUnbound = typeof token === 'string' ? tokenHash(token) !== ath : (token ?? ath) != null
    if (isUnbound) throw new Refused('token_mismatch')
    if (!this.#replays.isNew(claims) && !redelivered) throw new Refused('replayed', claims.jti)
    if (exp <= now) throw new Late()
    return claims
  }

  /** Return the user of a verified request, who has a right to it; or throw a `ServiceError`. */
  authorise(
    { iss, op }: Claims,
    contract: Pick<RequestContract, 'scope' | 'needsUser'> | undefined,
    token: unknown,
  ): User | null {
    if (!contract) throw new InvalidRequest(`no method ${op}`)
    const { scope, needsUser } = contract
    if (typeof token !== 'string') {
      const caller = this.keys.trusted(iss) // it may have been revoked by now
      if (needsUser || (scope && (!caller || caller.acts_for_users))) throw new NotAuthenticated('no token')
      return null
    }
    const user = readToken(this.keys, token)
    if (this.revoked.has(user.sessionId)) throw new NotAuthenticated('the token was revoked')
    if (scope && !user.scopes.includes(scope)) {
      throw new NotAuthorised(`the token lacks the scope ${scope}`)
    }
    return user
  }
}

/** Read a user's access token (RFC 9068) and verify it, or throw `NotAuthenticated`. */
export function readToken(keys: Keys, token: string): User {
  const [head = '', payload = '', code = '', ...rest] = token.split('.')
  let claims: Record<string, unknown>
  try {
    if (token.length > TOKEN_MAX || rest.length || !/^[\w.-]*$/.test(token)) throw new Error()
    const { alg, typ, kid } = Object(readJson(Buffer.from(head, 'base64url')))
    if (alg !== 'EdDSA' || typ !== 'at+jwt') throw new Error()
    const signed = Buffer.from(`${head}.${payload}`)
    if (!verify(null, signed, keys.tokenKey(String(kid)), Buffer.from(code, 'base64url'))) {
      throw new Error()
    }
    claims = Object(readJson(Buffer.from(payload, 'base64url')))
  } catch {
    throw new NotAuthenticated('the token is not one of ours')
  }
  const { iss, sub, aud, exp, iat, jti, sid, scope, user_id: userId } = claims
  const now = Date.now() / 1000
  if (typeof exp === 'number' && exp <= now) throw new NotAuthenticated('the token has expired')
  const isForUs = iss === 'postroad/auth' && [aud].flat().includes('postroad')
  const areTexts = [sub, jti, sid, scope].every((each) => typeof each === 'string')
  const isTimely = typeof exp === 'number' && typeof iat === 'number' && iat <= now + LEEWAY_S
  if (!isForUs || !areTexts || !isTimely || !Number.isSafeInteger(userId)) {
    throw new NotAuthenticated('the token is not one of ours')
  }
  return {
    token,
    username: String(sub),
    userId: Number(userId),
    sessionId: String(sid),
    scopes: String(scope).split(/\s+/),
  }
}
