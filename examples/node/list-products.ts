// node dist/list-products.js [LIMIT]: ask the catalogue, through the queue.

import { connect, ServiceError } from 'postroad'
import { ListProducts } from 'postroad/contracts'

const limit = Number(process.argv[2] ?? 5)
try {
  const postroad = await connect()
  try {
    const page = await postroad.call(ListProducts, { limit })
    for (const { id, price, title } of page.data) console.log(`${id}\t${price}\t${title}`)
  } finally {
    await postroad.close()
  }
} catch (error) {
  const said = error instanceof ServiceError ? error.code : 'postroad'
  console.error(`${said}: ${(error as Error).message}`)
  process.exitCode = 1
}
