// node listen.js EVENT...: print events as they happen, a line of JSON each, until Ctrl-C.

import { connect, describe } from './postroad.js'

const patterns = process.argv.slice(2)
if (!patterns.length) {
  console.error("say what to listen to: node listen.js 'auth.login.*'")
  process.exit(2)
}
let client
try {
  client = await connect()
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => client.close())
  await client.listen(patterns, (event) => console.log(JSON.stringify(event)))
  console.error(`listening to ${patterns.join(', ')}; Ctrl-C ends`)
} catch (error) {
  console.error(describe(error))
  process.exitCode = 1
  await client?.close()
}
