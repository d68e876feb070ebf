// What generated modules are made of: contracts, which check bodies at the border, and errors.

import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'

/** An error that a service answered, or that kept a request from its answer. */
export class ServiceError<Code extends string = string> extends Error {
  constructor(
    readonly code: Code,
    readonly title: string,
    detail: string | undefined,
    /** Whether the same request, sent again, may succeed. */
    readonly isRetryable: boolean,
    /** Whether the request may have taken effect all the same. */
    readonly mayHaveHappened: boolean,
    /** How long to wait before trying again, in seconds. */
    readonly retryAfterS: number | null,
  ) {
    super(detail || title)
    this.name = new.target.name
  }
}

interface ErrorTraits {
  isRetryable?: boolean
  mayHaveHappened?: boolean
  retryAfterS?: number
}

export interface ErrorClass<Code extends string = string> {
  readonly code: Code
  new (detail?: string, retryAfterS?: number | null): ServiceError<Code>
}

const errors = new Map<string, ErrorClass>()

/** Return the class of an error code; there is one for each code, whoever asks for it. */
export function errorClass<Code extends string>(
  code: Code,
  title: string,
  { isRetryable = false, mayHaveHappened = false, retryAfterS }: ErrorTraits = {},
): ErrorClass<Code> {
  const known = errors.get(code)
  if (known) return known as ErrorClass<Code>
  const named = class extends ServiceError<Code> {
    static readonly code = code

    constructor(detail?: string, retryAfter: number | null = retryAfterS ?? null) {
      super(code, title, detail, isRetryable, mayHaveHappened, retryAfter)
    }
  }
  const name = code.replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase())
  Object.defineProperty(named, 'name', { value: name })
  errors.set(code, named)
  return named
}

// those that any call may end with, or any service answer
const again = { isRetryable: true, retryAfterS: 1 }
export const InvalidRequest = errorClass('invalid_request', 'The request is not valid')
export const NotAuthenticated = errorClass('not_authenticated', 'A valid token is needed')
export const NotAuthorised = errorClass('not_authorised', 'The token does not allow this')
export const Unavailable = errorClass('unavailable', 'The service is away', again)
export const Overloaded = errorClass('overloaded', 'Too many requests are waiting', again)
export const ReplyTimeout = errorClass('reply_timeout', 'No reply before the deadline', {
  isRetryable: true,
  mayHaveHappened: true,
})
export const OutcomeUnknown = errorClass(
  'outcome_unknown',
  'The connection was lost while the request was under way',
  { ...again, mayHaveHappened: true },
)
export const Internal = errorClass('internal', 'Something went wrong on our side', {
  mayHaveHappened: true,
})
export const PeerError = errorClass('peer_error', 'The service answered with an error', {
  mayHaveHappened: true,
})

/** Return the error that a problem object stands for; an unknown code is a `PeerError`. */
export function fromProblem(problem: unknown): ServiceError {
  const { code, detail, retry_after_s } = (problem ?? {}) as Record<string, unknown>
  if (typeof code !== 'string' || typeof detail !== 'string') {
    return new Internal('the service answered with an error that cannot be read')
  }
  const retryAfterS = typeof retry_after_s === 'number' ? retry_after_s : undefined
  return new (errors.get(code) ?? PeerError)(detail, retryAfterS)
}

export const toProblem = ({ code, title, message, retryAfterS }: ServiceError) => ({
  code,
  title,
  detail: message,
  retry_after_s: retryAfterS,
})

/** A body breaks its contract; the message says where, without quoting values. */
export class ContractBroken extends Error {}

type Check<T> = (body: unknown) => T

/** A question to one service; `Sent` is what a caller gives, `Taken` what a handler gets. */
export interface RequestContract<Sent = never, Taken = unknown, Reply = unknown> {
  readonly method: string
  readonly service: string
  /** The deadline of a call that names none. */
  readonly timeoutS: number
  /** What the user's token must hold when the caller acts for a user. */
  readonly scope: string | null
  /** Whether it is about the user, so that every caller gives the user's token. */
  readonly needsUser: boolean
  readonly isIdempotent: boolean
  /** Return the body as a handler gets it, with defaults filled in; or throw `ContractBroken`. */
  readonly checkRequest: Check<Taken>
  readonly checkReply: Check<Reply>
  readonly sent?: Sent
}

/** Something that has happened, told to whoever listens. */
export interface EventContract<Name extends string = string, Body = unknown> {
  readonly name: Name
  readonly checkBody: Check<Body>
}

/** A body whose fields with defaults have been filled in. */
export type Filled<Body, Defaulted extends keyof Body> = Omit<Body, Defaulted> &
  Required<Pick<Body, Defaulted>>

interface Described {
  method: string
  request: string
  reply: string
  timeoutS: number
  scope: string | null
  needsUser: boolean
  isIdempotent: boolean
}

/** Return what makes contracts of a document's JSON schemas. */
export function contractsOf(schemas: Record<string, object>) {
  const ajv = new Ajv({ strict: false, useDefaults: true, validateFormats: false, logger: false })
  ajv.addSchema({ $id: 'document', components: { schemas } })
  const checking = <T>(name: string): Check<T> => {
    let validate: ValidateFunction<T> | undefined // compiled when it is first needed
    return (body) => {
      validate ??= ajv.compile<T>({ $ref: `document#/components/schemas/${name}` })
      if (validate(body)) return body
      throw new ContractBroken(explain(validate.errors ?? []))
    }
  }
  return {
    request: <Sent, Taken, Reply>(described: Described): RequestContract<Sent, Taken, Reply> => {
      const { request, reply, ...rest } = described
      const [service = ''] = described.method.split('.', 1)
      const checks = { checkRequest: checking<Taken>(request), checkReply: checking<Reply>(reply) }
      return { ...rest, service, ...checks }
    },
    event: <Name extends string, Body>(name: Name, schema: string): EventContract<Name, Body> => ({
      name,
      checkBody: checking<Body>(schema),
    }),
  }
}

const explain = (problems: ErrorObject[]) =>
  problems
    .map(({ instancePath, message }) => {
      const place = instancePath.slice(1).replaceAll('/', '.')
      return `${place || 'body'}: ${message ?? 'is wrong'}`
    })
    .join('; ')
