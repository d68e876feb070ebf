// node check-vectors.js [FOLDER]: does this implementation speak the protocol of the test vectors?

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { Keys, Refused, signRequest, tokenHash, verifySignature } from './envelope.js'
import { open, passwordContext, seal } from './sealing.js'

const folder = process.argv[2] ?? fileURLToPath(new URL('../../tests/vectors', import.meta.url))
const read = (name) => JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8'))
const { identities, trust } = read('keys')
const keysOf = (service) => new Keys(identities[service], trust)
const verifyIt = ({ receiver, signature, body, typ }) =>
  verifySignature(keysOf(receiver), signature, Buffer.from(body), typ)

const checks = []
const check = (name, test) => checks.push([name, test])

for (const { sender, receiver, kid, key } of read('pair_keys')) {
  check(`key from ${sender} to ${receiver}`, () => {
    const sending = keysOf(sender).sendingKey(receiver)
    assert.equal(sending.kid, kid)
    assert.equal(sending.key.toString('base64url'), key)
    assert.equal(keysOf(receiver).receivingKey(sender, kid).toString('base64url'), key)
  })
}

for (const vector of read('accepted')) {
  check(`accepted: ${vector.name}`, () => {
    const claims = verifyIt(vector)
    assert.deepEqual(claims, vector.claims)
    if (vector.authorization) assert.equal(claims.ath, tokenHash(vector.authorization))
  })
}

for (const vector of read('refused')) {
  check(`refused: ${vector.name}`, () => {
    assert.throws(
      () => verifyIt(vector),
      (error) => error instanceof Refused && error.reason === vector.reason,
      `should be refused as ${vector.reason}`,
    )
  })
}

check('a request signed here verifies', () => {
  const { body, claims } = read('accepted')[0]
  const { op, iat, exp, jti, cid, rto } = claims
  const said = { op, iat, exp, jti, cid, rto }
  const signature = signRequest(keysOf('orders'), 'catalog', Buffer.from(body), said)
  assert.deepEqual(verifyIt({ receiver: 'catalog', signature, body, typ: 'request' }), claims)
})

const { receiver, context, sealed, secret } = read('sealed')

check('the sealed secret opens', () => {
  assert.equal(passwordContext('reader', 'orders', { id: 'm-1', exp: 1800000000.5 }), context)
  assert.equal(open(sealed, identities[receiver], context), secret)
  assert.throws(() => open(sealed, identities[receiver], `${context}s`))
  assert.throws(() => open(sealed, identities.catalog, context))
})

check('a secret sealed here opens', () => {
  const again = seal(secret, trust.services[receiver], context)
  assert.equal(open(again, identities[receiver], context), secret)
})

let failed = 0
for (const [name, test] of checks) {
  try {
    test()
  } catch (error) {
    failed += 1
    console.error(`not ok: ${name}: ${error.message}`)
  }
}
console.log(`${checks.length - failed} of ${checks.length} checks passed`)
process.exitCode = failed ? 1 : 0
