#!/usr/bin/env node
// postroad-contracts DOCUMENT OUTPUT [--library MODULE]: write the contracts in an AsyncAPI document
// of Postroad's (docs/asyncapi.json, `postroad contracts show`) as a module of TypeScript.

import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { library: { type: 'string', default: 'postroad' } },
})
const [input, output] = positionals
if (!input || !output) {
  console.error('usage: postroad-contracts DOCUMENT OUTPUT [--library MODULE]')
  process.exit(2)
}
const document = JSON.parse(readFileSync(input, 'utf8'))
const schemas = document.components.schemas
const operations = Object.entries(document.operations)
const requests = operations.filter(([, each]) => each.reply)
const events = operations.filter(([, each]) => each.action === 'send')
const errors = new Map(
  requests.flatMap(([, each]) => each['x-errors']).map((error) => [error.code, error]),
)

const lastWord = (reference) => reference.slice(reference.lastIndexOf('/') + 1)
const quoted = (value) => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
const schemaOf = (message) => lastWord(document.components.messages[message].payload.$ref)
const named = (code) => code.replace(/(?:^|_)(\w)/g, (_, letter) => letter.toUpperCase())
const prose = (text, indent = '') =>
  text
    ? `${indent}/**\n${text
        .replaceAll('*/', '* /')
        .split('\n')
        .map((line) => `${indent} * ${line}`.trimEnd())
        .join('\n')}\n${indent} */\n`
    : ''

/** Write a JSON schema as a type; what it cannot say is an error, not `any`. */
function typeOf(schema) {
  if (schema.$ref) return lastWord(schema.$ref)
  if ('const' in schema) return JSON.stringify(schema.const)
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  const union = schema.anyOf ?? schema.oneOf
  if (union) return [...new Set(union.map(typeOf))].join(' | ')
  switch (schema.type) {
    case 'integer':
    case 'number':
      return 'number'
    case 'string':
    case 'boolean':
    case 'null':
      return schema.type
    case 'array':
      if (schema.prefixItems) return `[${schema.prefixItems.map(typeOf).join(', ')}]`
      return `Array<${typeOf(schema.items ?? {})}>`
    case 'object':
      if (schema.properties) return `{\n${fields(schema)}}`
      return `Record<string, ${typeOf(schema.additionalProperties || {})}>`
    case undefined:
      if (!Object.keys(schema).some((key) => !['title', 'description', 'default'].includes(key))) {
        return 'unknown'
      }
  }
  throw new Error(`no type for the schema ${JSON.stringify(schema)}`)
}

const fields = ({ properties = {}, required = [] }) =>
  Object.entries(properties)
    .map(([name, schema]) => {
      const key = /^\w+$/.test(name) ? name : quoted(name)
      return `${prose(schema.description, '  ')}  ${key}${required.includes(name) ? '' : '?'}: ${typeOf(schema)}\n`
    })
    .join('')

/** Name what is only left out of a request because it has a default. */
const defaulted = ({ properties = {}, required = [] }) =>
  Object.keys(properties).filter((name) => 'default' in properties[name] && !required.includes(name))

function requestContract([method, operation]) {
  const request = schemaOf(method)
  const reply = schemaOf(lastWord(operation.reply.messages[0].$ref))
  const filled = defaulted(schemas[request]).map(quoted).join(' | ')
  const taken = filled ? `Filled<${request}, ${filled}>` : request
  return `${prose(schemas[request].description)}export const ${request} = request<${request}, ${taken}, ${reply}>({
  method: ${quoted(method)},
  request: ${quoted(request)},
  reply: ${quoted(reply)},
  timeoutS: ${operation['x-timeout-s']},
  scope: ${operation['x-scope'] ? quoted(operation['x-scope']) : 'null'},
  needsUser: ${operation['x-user-token'] === 'required'},
  isIdempotent: ${operation['x-idempotent']},
})
`
}

function eventContract([name]) {
  const body = schemaOf(name)
  return `${prose(schemas[body].description)}export const ${body} = event<${quoted(name)}, ${body}>(${quoted(name)}, ${quoted(body)})\n`
}

function errorClass({ code, title, when, is_retryable, may_have_happened }) {
  const traits = `{ isRetryable: ${is_retryable}, mayHaveHappened: ${may_have_happened} }`
  return `${prose(when)}export const ${named(code)} = errorClass(${quoted(code)}, ${quoted(title)}, ${traits})\n`
}

function bodyType([name, schema]) {
  const content = fields(schema)
  const type = content ? `interface ${name} {\n${content}}` : `type ${name} = Record<string, never>`
  return `${prose(schema.description)}export ${type}\n`
}

/** Leave prose out of a schema: only a validator reads it. */
const bare = (key, value) =>
  (key === 'description' || key === 'title') && typeof value === 'string' ? undefined : value

const bodies = Object.entries(schemas).filter(([name]) => !name.endsWith('Headers'))
const list = (entries) => entries.map(([name]) => schemaOf(name)).join(', ')
const { title, version } = document.info
writeFileSync(
  output,
  [
    `// The contracts of ${title} ${version}, written by postroad-contracts: change the document, not this.\n\n` +
      `import { contractsOf, errorClass, type Filled } from ${quoted(values.library)}\n`,
    `const { request, event } = contractsOf(${JSON.stringify(Object.fromEntries(bodies), bare, 1)})\n`,
    ...bodies.map(bodyType),
    ...requests.map(requestContract),
    ...events.map(eventContract),
    ...[...errors.values()].map(errorClass),
    `export const requests = [${list(requests)}] as const\n\nexport const events = [${list(events)}] as const\n`,
  ].join('\n'),
)
