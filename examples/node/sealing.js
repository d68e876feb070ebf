// Secrets that one service alone can read: HPKE (RFC 9180) as in docs/wire-protocol.md, section 9.

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
} from 'node:crypto'

import { keyInUse, privateKey, publicKey } from './envelope.js'

const TAG_BYTES = 16
const NOTHING = Buffer.alloc(0)
const VERSION = Buffer.from('HPKE-v1')
const KEM = Buffer.from([...Buffer.from('KEM'), 0x00, 0x20]) // DHKEM(X25519, HKDF-SHA256)
// that, HKDF-SHA256 and AES-128-GCM
const SUITE = Buffer.from([...Buffer.from('HPKE'), 0x00, 0x20, 0x00, 0x01, 0x00, 0x01])

/** The context of a password: of one request to sign in, and of no other. */
export const passwordContext = (username, caller, { id, exp }) =>
  `auth.sessions.create ${caller} ${id} ${exp.toFixed(3)} ${username}`

/** Encrypt a secret to a service's sealing key; it opens for the same context only. */
export function seal(secret, receiver, context) {
  const recipient = publicKey(keyInUse(receiver.keys, 'sealing'))
  const ephemeral = generateKeyPairSync('x25519')
  const enc = raw(ephemeral.publicKey)
  const agreed = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: recipient })
  const { key, nonce } = schedule(agreed, enc, raw(recipient), context)
  const cipher = createCipheriv('aes-128-gcm', key, nonce)
  const sealed = [enc, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()]
  return Buffer.concat(sealed).toString('base64url')
}

/** Decrypt what was sealed to one of our sealing keys, or throw. */
export function open(text, identity, context) {
  const sealed = Buffer.from(text, 'base64url')
  for (const jwk of identity.keys.filter((key) => key.purpose === 'sealing')) {
    try {
      return openWith(privateKey(jwk), sealed, context)
    } catch {
      continue // with the next key
    }
  }
  throw new Error('not sealed to a key of ours for this context')
}

function openWith(own, sealed, context) {
  const enc = sealed.subarray(0, 32)
  const ciphertext = sealed.subarray(32, -TAG_BYTES)
  const agreed = diffieHellman({
    privateKey: own,
    publicKey: publicKey({ crv: 'X25519', x: enc.toString('base64url') }),
  })
  const { key, nonce } = schedule(agreed, enc, raw(createPublicKey(own)), context)
  const cipher = createDecipheriv('aes-128-gcm', key, nonce)
  cipher.setAuthTag(sealed.subarray(-TAG_BYTES))
  return Buffer.concat([cipher.update(ciphertext), cipher.final()]).toString('utf8')
}

/** RFC 9180 sections 4.1 and 5.1, mode base. */
function schedule(agreed, enc, recipient, context) {
  const prk = extract(KEM, NOTHING, 'eae_prk', agreed)
  const shared = expand(KEM, prk, 'shared_secret', Buffer.concat([enc, recipient]), 32)
  const about = Buffer.concat([
    Buffer.from([0]),
    extract(SUITE, NOTHING, 'psk_id_hash', NOTHING),
    extract(SUITE, NOTHING, 'info_hash', Buffer.from(context)),
  ])
  const secret = extract(SUITE, shared, 'secret', NOTHING)
  return {
    key: expand(SUITE, secret, 'key', about, 16),
    nonce: expand(SUITE, secret, 'base_nonce', about, 12),
  }
}

const hmac = (key, ...parts) =>
  createHmac('sha256', key).update(Buffer.concat(parts)).digest()

const extract = (suite, salt, label, secret) =>
  hmac(salt, VERSION, suite, Buffer.from(label), secret)

const expand = (suite, prk, label, info, length) =>
  hmac(prk, Buffer.from([0, length]), VERSION, suite, Buffer.from(label), info, Buffer.from([1]))
    .subarray(0, length)

const raw = (key) => Buffer.from(key.export({ format: 'jwk' }).x, 'base64url')
