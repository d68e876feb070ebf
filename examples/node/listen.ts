// node dist/listen.js EVENT...: print events as they happen, a line of JSON each, until Ctrl-C.

import { connect, eventsNamed, type Postroad, ServiceError } from 'postroad'

let postroad: Postroad | undefined
const close = () => void postroad?.close()
try {
  const events = eventsNamed(...process.argv.slice(2))
  postroad = await connect()
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, close)
  await postroad.listen(events, (event) => console.log(JSON.stringify(event)))
  console.error(`listening to ${events.map(({ name }) => name).join(', ')}; Ctrl-C ends`)
} catch (error) {
  const said = error instanceof ServiceError ? error.code : 'postroad'
  console.error(`${said}: ${(error as Error).message}`)
  process.exitCode = 1
  close()
}
