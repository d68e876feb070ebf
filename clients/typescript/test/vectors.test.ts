// This implementation speaks the protocol of the test vectors (tests/vectors in the repository).

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { readToken } from '../src/admission.js'
import { type Identity, Keys, Refused, type TrustBundle } from '../src/keys.js'
import { passwordContext, seal, unseal } from '../src/sealing.js'
import { type Claims, sign, tokenHash, verifySignature } from '../src/signatures.js'

interface Vector {
  name: string
  receiver: string
  typ: Claims['typ']
  body: string
  signature: string | null
}

const usual = fileURLToPath(new URL('../../../../tests/vectors', import.meta.url))
const folder = process.env.POSTROAD_VECTORS ?? usual
const read = <T>(name: string): T => JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8'))
const { identities, trust } = read<{ identities: Record<string, Identity>; trust: TrustBundle }>('keys')

function keysOf(service: string): Keys {
  const identity = identities[service]
  assert.ok(identity)
  return new Keys(identity, trust)
}

const verified = ({ receiver, signature, body, typ }: Vector) =>
  verifySignature(keysOf(receiver), signature, Buffer.from(body), typ)

type PairKey = Record<'sender' | 'receiver' | 'kid' | 'key', string>

for (const { sender, receiver, kid, key } of read<PairKey[]>('pair_keys')) {
  test(`both sides derive the key from ${sender} to ${receiver}`, () => {
    const sending = keysOf(sender).sendingKey(receiver)

    assert.equal(sending.kid, kid)
    assert.equal(sending.key.toString('base64url'), key)
    assert.equal(keysOf(receiver).receivingKey(sender, kid).toString('base64url'), key)
  })
}

type Accepted = Vector & { claims: Claims; authorization?: string }
const accepted = read<Accepted[]>('accepted')

for (const vector of accepted) {
  test(`accepted: ${vector.name}`, () => {
    const claims = verified(vector)

    assert.deepEqual(claims, vector.claims)
    if (vector.authorization) assert.equal(claims.ath, tokenHash(vector.authorization))
  })
}

for (const vector of read<Array<Vector & { reason: string }>>('refused')) {
  test(`refused: ${vector.name}`, () => {
    assert.throws(
      () => verified(vector),
      (error) => error instanceof Refused && error.reason === vector.reason,
    )
  })
}

for (const [sender, receiver, name] of [
  ['orders', 'catalog', 'request'],
  ['catalog', 'orders', 'reply'],
] as const) {
  test(`a ${name} signed here verifies there`, () => {
    const vector = accepted.find((each) => each.name === name)
    assert.ok(vector)
    const { alg, kid, iss, aud, ...said } = vector.claims

    const signature = sign(keysOf(sender), receiver, Buffer.from(vector.body), said)

    assert.deepEqual(verified({ ...vector, signature }), vector.claims)
  })
}

type Sealed = Record<'receiver' | 'context' | 'sealed' | 'secret', string>
const { receiver, context, sealed, secret } = read<Sealed>('sealed')

test('the sealed secret opens for its receiver and its context alone', () => {
  const message = { caller: 'orders', messageId: 'm-1', deadline: 1_800_000_000.5 }

  assert.equal(passwordContext('reader', message), context)
  assert.equal(unseal(keysOf(receiver), sealed, context), secret)
  assert.throws(() => unseal(keysOf(receiver), sealed, `${context}s`))
  assert.throws(() => unseal(keysOf('catalog'), sealed, context))
})

test('a secret sealed here opens there', () => {
  const again = seal(keysOf('orders'), secret, receiver, context)

  assert.equal(unseal(keysOf(receiver), again, context), secret)
})

test('a token is read as it was issued, and no other is', () => {
  const { receiver, token, claims } = read<{ receiver: string; token: string; claims: any }>('token')
  const [head, payload, code] = token.split('.')

  const user = readToken(keysOf(receiver), token)

  assert.deepEqual(user, {
    token,
    username: claims.sub,
    userId: claims.user_id,
    sessionId: claims.sid,
    scopes: claims.scope.split(' '),
  })
  const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')
  const swapped = `${head}.${Buffer.from(JSON.stringify({ ...claims, user_id: 1 })).toString('base64url')}.${code}`
  for (const forged of [`${head}.${payload}.`, `${none}.${payload}.`, swapped, `${token}.x`, '']) {
    assert.throws(() => readToken(keysOf(receiver), forged), { code: 'not_authenticated' })
  }
})
