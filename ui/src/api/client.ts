/** The HTTP API, typed by the server's OpenAPI document, and its errors. */
import createClient from 'openapi-fetch';

import type { paths } from './generated/openapi';

/** The project in the address (`?project=`), else the server's default. */
export function projectInUrl(): string {
  return new URLSearchParams(window.location.search).get('project') ?? 'default';
}

/** A path of this server with the project of the address, for links that are not built by the router. */
export function inProject(path: string): string {
  const project = new URLSearchParams(window.location.search).get('project');
  if (project === null) return path;
  return `${path}${path.includes('?') ? '&' : '?'}${new URLSearchParams({ project }).toString()}`;
}

export const api = createClient<paths>({ baseUrl: '' });

api.use({
  onRequest({ request }) {
    request.headers.set('X-Assay-Project', projectInUrl());
    return request;
  },
});

/** A refusal or failure, as RFC 9457 tells it. `status` 0: the server could not be reached. */
export class ApiError extends Error {
  readonly status: number;
  readonly title: string;
  readonly found: string | null;
  readonly expected: string | null;
  readonly hint: string | null;
  readonly position: { line: number; column: number } | null;

  constructor(problem: unknown, status: number) {
    const fields = isRecord(problem) ? problem : {};
    const title = text(fields['title']) ?? (status === 0 ? 'the server does not answer' : `the server answered ${status}`);
    super(text(fields['detail']) ?? title);
    this.name = 'ApiError';
    this.status = status;
    this.title = title;
    this.found = text(fields['found']);
    this.expected = text(fields['expected']);
    this.hint = text(fields['hint']);
    const position = fields['position'];
    this.position =
      isRecord(position) && typeof position['line'] === 'number' && typeof position['column'] === 'number'
        ? { line: position['line'], column: position['column'] }
        : null;
  }
}

/** The data of an answer, or its problem as an exception. */
export async function unwrap<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let answer;
  try {
    answer = await call;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError({ detail: 'the server does not answer; is it running?' }, 0);
  }
  if (answer.data === undefined) throw new ApiError(answer.error, answer.response.status);
  return answer.data;
}

/** For requests that are not JSON: the same project header and the same errors. */
export async function apiFetch(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set('X-Assay-Project', projectInUrl());
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError({ detail: 'the server does not answer; is it running?' }, 0);
  }
  if (!response.ok) throw new ApiError(await response.json().catch(() => null), response.status);
  return response;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
