// Secrets that one service alone can read: HPKE, RFC 9180 (docs/wire-protocol.md, section 9).

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'

import { accepted, type Keys, keyInUse, privateKey, publicKey } from './keys.js'

const ENC_BYTES = 32
const TAG_BYTES = 16
const NOTHING = Buffer.alloc(0)
const KEM = suite('KEM', 0x20) // DHKEM(X25519, HKDF-SHA256)
const HPKE = suite('HPKE', 0x20, 0x01, 0x01) // that, HKDF-SHA256 and AES-128-GCM

/** The one message for which a secret is sealed. */
export interface ForMessage {
  readonly caller: string
  readonly messageId: string
  /** Seconds since 1970. */
  readonly deadline: number
}

export const REFRESH_CONTEXT = 'auth refresh token'

/** Return the context of a password: of one request to sign in, and of no other. */
export const passwordContext = (username: string, { caller, messageId, deadline }: ForMessage) =>
  `auth.sessions.create ${caller} ${messageId} ${deadline.toFixed(3)} ${username}`

/** Return the context of a password that is changed, or of the one in its place. */
export const newPasswordContext = (
  which: 'current' | 'new',
  { caller, messageId, deadline }: ForMessage,
) => `auth.passwords.change ${which} ${caller} ${messageId} ${deadline.toFixed(3)}`

/** Encrypt a secret to a service's sealing key; it opens for the same context only. */
export function seal(keys: Keys, secret: string, receiver: string, context: string): string {
  const recipient = publicKey(keyInUse(keys.trusted(receiver)?.keys ?? [], 'sealing'))
  const own = generateKeyPairSync('x25519')
  const enc = raw(own.publicKey)
  const agreed = diffieHellman({ privateKey: own.privateKey, publicKey: recipient })
  const { key, nonce } = schedule(agreed, enc, raw(recipient), context)
  const cipher = createCipheriv('aes-128-gcm', key, nonce)
  const sealed = [enc, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()]
  return Buffer.concat(sealed).toString('base64url')
}

/** Decrypt what was sealed to one of our sealing keys, or throw. */
export function unseal(keys: Keys, text: string, context: string): string {
  const sealed = Buffer.from(text, 'base64url')
  for (const jwk of accepted(keys.identity.keys, 'sealing')) {
    try {
      return openWith(privateKey(jwk), sealed, context)
    } catch {
      continue // with the next key
    }
  }
  throw new Error('not sealed to a key of ours for this context')
}

function openWith(own: KeyObject, sealed: Buffer, context: string): string {
  const enc = sealed.subarray(0, ENC_BYTES)
  const ephemeral = publicKey({ crv: 'X25519', x: enc.toString('base64url') })
  const agreed = diffieHellman({ privateKey: own, publicKey: ephemeral })
  const { key, nonce } = schedule(agreed, enc, raw(createPublicKey(own)), context)
  const decipher = createDecipheriv('aes-128-gcm', key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
  const text = [decipher.update(sealed.subarray(ENC_BYTES, -TAG_BYTES)), decipher.final()]
  return Buffer.concat(text).toString('utf8')
}

/** RFC 9180 sections 4.1 and 5.1, mode base. */
function schedule(agreed: Buffer, enc: Buffer, recipient: Buffer, context: string) {
  const prk = extract(KEM, NOTHING, 'eae_prk', agreed)
  const shared = expand(KEM, prk, 'shared_secret', Buffer.concat([enc, recipient]), 32)
  const about = Buffer.concat([
    Buffer.from([0]),
    extract(HPKE, NOTHING, 'psk_id_hash', NOTHING),
    extract(HPKE, NOTHING, 'info_hash', Buffer.from(context)),
  ])
  const secret = extract(HPKE, shared, 'secret', NOTHING)
  return {
    key: expand(HPKE, secret, 'key', about, 16),
    nonce: expand(HPKE, secret, 'base_nonce', about, 12),
  }
}

function suite(kind: string, ...algorithms: number[]): Buffer {
  return Buffer.concat([
    Buffer.from(`HPKE-v1${kind}`),
    ...algorithms.map((each) => Buffer.from([0, each])),
  ])
}

const hmac = (key: Buffer, ...parts: Buffer[]) =>
  createHmac('sha256', key).update(Buffer.concat(parts)).digest()

const extract = (of: Buffer, salt: Buffer, label: string, secret: Buffer) =>
  hmac(salt, of, Buffer.from(label), secret)

const expand = (of: Buffer, prk: Buffer, label: string, info: Buffer, length: number) =>
  hmac(prk, Buffer.from([0, length]), of, Buffer.from(label), info, Buffer.from([1])).subarray(0, length)

const raw = (key: KeyObject) => Buffer.from(String(key.export({ format: 'jwk' }).x), 'base64url')
