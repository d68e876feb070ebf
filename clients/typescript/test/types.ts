// What the compiler has to see, and what it has to refuse; nothing of it is run.

import {
  GetProduct,
  ListProducts,
  LoginFailed,
  LoginSucceeded,
  ProductNotFound,
  StartSync,
} from '../src/contracts.js'
import { answer, type Postroad } from '../src/index.js'

export async function calls(postroad: Postroad): Promise<void> {
  const page = await postroad.call(ListProducts, { limit: 2 })
  const title: string | undefined = page.data[0]?.title
  await postroad.call(StartSync, {})
  await postroad.call(GetProduct, ({ messageId }) => ({ product_id: messageId.length }))

  // @ts-expect-error a field of another type
  await postroad.call(ListProducts, { limit: 'two' })
  // @ts-expect-error a field that is required
  await postroad.call(GetProduct, {})
  // @ts-expect-error a field that there is not
  await postroad.call(ListProducts, { limits: 2 })
  // @ts-expect-error the same, of a request without any
  await postroad.call(StartSync, { now: true })
  // @ts-expect-error a field that the reply does not have
  console.log(title, page.data[0]?.name)
}

export async function events(postroad: Postroad): Promise<void> {
  await postroad.listen([LoginFailed, LoginSucceeded], (event) => {
    if (event.name === 'auth.login.succeeded') return event.body.session_id
    // @ts-expect-error a field of the other event
    console.log(event.body.session_id)
    return event.body.reason
  })
}

export const answers = [
  answer(ListProducts, ({ limit, q }) => {
    const filled: { limit: number; q: string | null } = { limit, q } // its defaults are there
    throw new ProductNotFound(JSON.stringify(filled))
  }),
  // @ts-expect-error a reply that lacks fields
  answer(GetProduct, ({ product_id }) => ({ id: product_id })),
  // @ts-expect-error a field that the request does not have
  answer(GetProduct, ({ sku }) => Promise.reject(new ProductNotFound(sku))),
]

export const code = (error: unknown): 'product_not_found' | null =>
  error instanceof ProductNotFound ? error.code : null
