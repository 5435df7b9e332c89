// The api tier as functions. Every answer that isn't a success is an Error with a message for people.

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers }, credentials: "same-origin", cache: "no-store" };
  if (method !== "GET" && method !== "DELETE") {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body ?? {});
  }
  let response;
  try {
    response = await fetch(`/api${path}`, options);
  } catch {
    throw new ServerError(0, "The server can't be reached. Check your connection and try again.");
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    const message = answer?.error ?? `The server answered ${response.status}.`;
    throw new ServerError(response.status, message.charAt(0).toUpperCase() + message.slice(1) + ".");
  }
  return answer;
}

// One key for one intention: trying again after a lost answer makes no second card.
export const newKey = () => crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");

export async function createCard(lane, card) {
  const headers = { "idempotency-key": newKey() };
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call("POST", `/lanes/${lane}/cards`, card, headers);
    } catch (problem) {
      if (attempt === 3 || ![0, 502, 503, 504].includes(problem.status)) throw problem;
      await new Promise((done) => setTimeout(done, 700 * attempt));
    }
  }
}
