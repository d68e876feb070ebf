// Where the broker is, and with which keys: the same variables as for the Python client.

import { readFileSync } from 'node:fs'

export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Record<string, unknown>,
) => void

/** What is read from a file, again when that changes, or given itself as `text`. */
export interface Source {
  readonly name: string
  readonly file?: string
  readonly text?: string
}

export interface Settings {
  /** `amqp://host:port/vhost` or `amqps://…`, without credentials: the user is the service. */
  brokerUrls: string[]
  password: Source
  identity: Source
  trust: Source
  /** For `amqps://`: the authority of the broker's certificate, and ours. Read for each connection. */
  tls: { ca: string; cert: string; key: string } | null
  heartbeatS: number
  connectTimeoutS: number
  prefetch: number
  drainTimeoutS: number
  log: Log
}

export class SettingsError extends Error {}

/** Write warnings and errors to standard error, a line each. */
export const logToStderr: Log = (level, message, fields = {}) => {
  if (level === 'info') return
  const said = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
  console.error(`postroad: ${message}${said.join('')}`)
}

/** Read the settings from the environment. */
export function readSettings(environment: NodeJS.ProcessEnv = process.env): Settings {
  const problems: string[] = []
  const source = (name: string): Source => {
    const [text, file] = [environment[name], environment[`${name}_FILE`]]
    if (text && file) problems.push(`${name}_FILE is set, and ${name} too`)
    if (!text && !file) problems.push(`${name}_FILE is not set`)
    return file ? { name: file, file } : { name, text: text ?? '' }
  }
  const number = (name: string, usual: number, least: number, most: number): number => {
    const value = environment[name] ? Number(environment[name]) : usual
    if (!(value >= least && value <= most)) problems.push(`${name} is not from ${least} to ${most}`)
    return value
  }
  const brokerUrls = (environment.BROKER_URLS ?? '').split(',').map((url) => url.trim())
  if (!environment.BROKER_URLS) problems.push('BROKER_URLS is not set')
  else problems.push(...brokerUrls.flatMap(problemOf))
  const protocols = new Set(brokerUrls.map((url) => url.split(':', 1)[0]))
  if (protocols.size > 1) problems.push('BROKER_URLS mixes amqp:// and amqps://')
  const settings: Settings = {
    brokerUrls,
    password: source('BROKER_PASSWORD'),
    identity: source('IDENTITY'),
    trust: source('TRUST'),
    tls: readTls(environment, problems),
    heartbeatS: number('BROKER_HEARTBEAT_S', 8, 2, 300),
    connectTimeoutS: number('BROKER_CONNECT_TIMEOUT_S', 5, 0.1, 3600),
    prefetch: number('PREFETCH', 64, 1, 1000),
    drainTimeoutS: number('DRAIN_TIMEOUT_S', 20, 0.1, 3600),
    log: logToStderr,
  }
  if (problems.length) throw new SettingsError(problems.join('; '))
  return settings
}

export const readPassword = ({ file, text = '' }: Source): string =>
  (file === undefined ? text : readFileSync(file, 'utf8')).trim()

function readTls(environment: NodeJS.ProcessEnv, problems: string[]): Settings['tls'] {
  const names = ['BROKER_CA_FILE', 'BROKER_CERTIFICATE_FILE', 'BROKER_KEY_FILE']
  const [ca, cert, key] = names.map((name) => environment[name])
  if (ca && cert && key) return { ca, cert, key }
  if (ca || cert || key) problems.push(`set all of ${names.join(', ')}, or none`)
  return null
}

/** Say what is wrong with a URL, without its secrets. */
function problemOf(url: string): string[] {
  if (url.includes('@')) return ['BROKER_URLS must not have a user or a password']
  const isUrl = /^amqps?:\/\/[^/?#]+(\/[^/?#]*)?$/.test(url) && URL.canParse(url)
  return isUrl ? [] : [`BROKER_URLS: ${url} is not of the form amqp://host:port/vhost`]
}
