// The catalogue, answered from TypeScript; what it does is JSON on standard output, a line each.

import { answer, connect, type Log } from '../../src/index.js'
import { GetProduct, ProductNotFound, UpstreamBusy } from '../../src/contracts.js'

const say: Log = (level, message, fields) => console.log(JSON.stringify({ level, message, ...fields }))

const product = {
  id: 7,
  title: 'Stehlampe, weiß',
  brand: null,
  price: 12.5,
  description: 'Gives light',
  category: 'lighting',
  thumbnail: null,
  rating: null,
  stock: 3,
}

const postroad = await connect({ log: say })
process.once('SIGTERM', () => void postroad.close())
await postroad.serve([
  answer(GetProduct, async ({ product_id: id }, { caller, user, correlationId }) => {
    const released = id === 4 && new Promise((resolve) => process.once('SIGUSR2', resolve))
    say('info', 'asked', { id, caller, username: user?.username, correlationId })
    if (id === 1) throw new Error('a bug')
    if (id === 2) throw new UpstreamBusy('later, please', 3)
    if (id === 3) return {} as typeof product
    if (await released) say('info', 'released')
    if (id !== 7 && id !== 4) throw new ProductNotFound(`no product ${id}`)
    return product
  }),
])
say('info', 'serving')
