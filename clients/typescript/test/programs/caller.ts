// Does what each line of standard input says, in JSON; what comes of it is a line on standard output.

import { createInterface } from 'node:readline'

import { CreateSession, requests } from '../../src/contracts.js'
import {
  connect,
  eventsNamed,
  passwordContext,
  REFRESH_CONTEXT,
  type RequestContract,
  ServiceError,
} from '../../src/index.js'

const say = (message: string, fields: object = {}) =>
  console.log(JSON.stringify({ message, ...fields }))

const postroad = await connect({ log: (level, message, fields) => say(message, { level, ...fields }) })
say('connected', { isConnected: postroad.isConnected })

const acts: Record<string, (wanted: any) => Promise<unknown>> = {
  call: ({ method, body = {}, ...options }) => {
    const contract: RequestContract<any> | undefined = requests.find((each) => each.method === method)
    if (!contract) throw new Error(`no method ${method}`)
    return postroad.call(contract, body, options)
  },
  signIn: async ({ username, password }) => {
    const session = await postroad.call(CreateSession, ({ seal, ...message }) => ({
      username,
      sealed_password: seal(password, passwordContext(username, message)),
    }))
    return postroad.open(session.sealed_refresh_token, REFRESH_CONTEXT)
  },
  listen: async ({ rights }) => {
    const onOpen = () => say('listening')
    await postroad.listen(eventsNamed(...rights), (event) => say('event', event), onOpen)
  },
}

const input = createInterface({ input: process.stdin })
input.on('line', (line) => {
  const { act, tag, ...wanted } = JSON.parse(line)
  acts[act]?.(wanted).then(
    (reply) => say('done', { tag, reply }),
    (error) => {
      const { isRetryable, mayHaveHappened, retryAfterS } = error
      const code = error instanceof ServiceError ? error.code : error.name
      say('failed', { tag, code, said: error.message, isRetryable, mayHaveHappened, retryAfterS })
    },
  )
})
input.on('close', () => void postroad.close())
