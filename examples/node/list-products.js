// node list-products.js [LIMIT]: ask the catalogue, through the queue.

import { connect, describe } from './postroad.js'

let client
try {
  client = await connect()
  const page = await client.call('catalog.products.list', { limit: Number(process.argv[2] ?? 5) })
  for (const product of page.data) console.log(`${product.id}\t${product.price}\t${product.title}`)
} catch (error) {
  console.error(describe(error))
  process.exitCode = 1
} finally {
  await client?.close()
}
