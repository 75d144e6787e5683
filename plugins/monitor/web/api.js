// The host's API: commands as JSON. The token, where the host wants one, is asked for once and kept in this tab.

const KEY = "howdah-token";
const LIMIT_MS = 20000;

let token = null;
try {
  token = sessionStorage.getItem(KEY);
} catch {
  // Then it is asked for with each load of the page.
}

// What went wrong: `unreachable` where nobody answered, else `status` and the host's own words.
export class ApiError extends Error {
  constructor(message, { status = 0, unreachable = false } = {}) {
    super(message);
    this.status = status;
    this.unreachable = unreachable;
  }
}

async function wordsOf(response) {
  try {
    const problem = await response.json();
    return problem.detail || problem.title || response.statusText;
  } catch {
    return response.statusText || `status ${response.status}`;
  }
}

// Browsers' own credentials stay out of it: their dialog would come before ours.
async function ask(path, { accepted, body } = {}) {
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  const used = token;
  if (used) headers.Authorization = `Bearer ${used}`;
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body,
      credentials: "omit",
      cache: "no-store",
      signal: AbortSignal.timeout(LIMIT_MS),
    });
  } catch (e) {
    throw new ApiError(e.name === "TimeoutError" ? "no answer in time" : "nobody answers", { unreachable: true });
  }
  // Whoever asked before the token came asks again.
  if (response.status === 401 && (used !== token || (!declined && (await login(Boolean(used))))))
    return ask(path, { accepted, body });
  if (!response.ok && response.status !== accepted)
    throw new ApiError(await wordsOf(response), { status: response.status });
  try {
    return await response.json();
  } catch {
    throw new ApiError("the answer broke off", { unreachable: true });
  }
}

let asking = null;
let declined = false; // nobody wanted to give one: not asked again until somebody says so

// One dialog, however many wait for it. True: there is a token to try.
export function login(wasWrong) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("login");
    const field = document.getElementById("token");
    if (wasWrong) document.getElementById("login-why").textContent = "That is not this host's token. It may have been changed.";
    field.value = "";
    dialog.addEventListener(
      "close",
      () => {
        const given = field.value.trim();
        field.value = "";
        if (given) token = given;
        declined = !given;
        try {
          if (given) sessionStorage.setItem(KEY, given);
        } catch {
          // It lasts as long as the page.
        }
        asking = null;
        resolve(Boolean(given));
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

// command("history", "howdah_clients", "5m") is SHOW HISTORY with these arguments: {columns, rows}.
export function command(name, ...args) {
  const query = args.map((a) => `arg=${encodeURIComponent(a)}`).join("&");
  return ask(`api/v1/${name}${query ? `?${query}` : ""}`);
}

// What changes something: post("unsilence", id). Its message is returned.
export const post = async (name, ...args) => (await ask(`api/v1/${name}`, { body: JSON.stringify({ args }) })).message;

// A host that is not well says so with 503.
export const health = () => ask("health", { accepted: 503 });

export const hasToken = () => Boolean(token);
