// What comes from the service is put on the page as text, never as markup.
const byId = (id) => document.getElementById(id);
const rows = new Map();

// ---- commands -------------------------------------------------------------------------------------------------

/** Send a command until its outcome is known. The key stays the same, so however often it is sent, it counts once. */
async function send(task, command, body) {
  const key = newId();
  for (let attempt = 1; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch(`/tasks/${task}/commands/${command}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": key },
        body: JSON.stringify(body ?? {}),
      });
    } catch {
      answer = null; // not reached, or the answer was lost: the same key finds out
    }
    if (answer?.ok && answer.status !== 202) return true;
    const again = answer === null || answer.status === 202 || answer.status === 503;
    if (!again || attempt === 8) {
      const problem = answer === null ? {} : await answer.json().catch(() => ({}));
      tell(problem.detail || problem.title || "The service cannot be reached. Nothing is lost: try again later.");
      return false;
    }
    await new Promise((done) => setTimeout(done, Math.min(250 * 2 ** attempt, 4000)));
  }
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function tell(text) {
  byId("notice-text").textContent = text;
  byId("notice").hidden = false;
}

function untell() {
  byId("notice").hidden = true;
}

byId("notice-close").addEventListener("click", untell);

byId("create").addEventListener("submit", async (event) => {
  event.preventDefault();
  untell();
  const { title, due } = event.target.elements;
  if (await send(newId(), "create-task", { title: title.value, due: due.value || null })) {
    event.target.reset();
    title.focus();
  }
});

// ---- the board ------------------------------------------------------------------------------------------------

function item(id) {
  const made = byId("task").content.firstElementChild.cloneNode(true);
  made.dataset.id = id;
  for (const command of ["complete", "reopen", "delete"]) {
    made.querySelector(`.${command}`).addEventListener("click", () => {
      untell();
      send(id, `${command}-task`);
    });
  }
  made.querySelector(".rename").addEventListener("submit", async (event) => {
    event.preventDefault();
    untell();
    const input = event.target.elements.title;
    const renamed = await send(id, "update-task", { title: input.value });
    input.blur();
    if (!renamed) input.value = rows.get(id)?.title ?? "";
  });
  return made;
}

function show() {
  const list = byId("tasks");
  const known = new Map([...list.children].map((element) => [element.dataset.id, element]));
  const sorted = [...rows.values()].sort(
    (a, b) => a.done - b.done || (a.due ?? "9").localeCompare(b.due ?? "9") || a.title.localeCompare(b.title),
  );
  for (const [id, element] of known) if (!rows.has(id)) element.remove();
  sorted.forEach((row, place) => {
    const element = known.get(row.task_id) ?? item(row.task_id);
    element.dataset.done = String(row.done);
    const input = element.querySelector("input");
    if (document.activeElement !== input) input.value = row.title;
    input.setAttribute("aria-label", `Title of ${row.title}`);
    for (const button of element.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent} ${row.title}`);
    }
    const facts = [row.done ? "Done" : "Open"];
    if (row.due) facts.push(`due ${row.due}`);
    if (row.assignee) facts.push(`assigned to ${row.assignee}`);
    element.querySelector(".facts").textContent = facts.join(" · ");
    if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
  });
  const open = sorted.filter((row) => !row.done).length;
  byId("count").textContent = sorted.length ? `${open} open, ${sorted.length - open} done` : "";
  byId("empty").hidden = sorted.length > 0;
}

// ---- live -----------------------------------------------------------------------------------------------------

function connection(state, text) {
  const shown = byId("connection");
  shown.dataset.state = state;
  shown.textContent = text;
}

/** Read the whole board, at least as new as the position at which the stream of changes begins. */
async function load(position) {
  const found = [];
  for (let path = "/task-board?limit=1000"; path; ) {
    const answer = await fetch(path, { headers: { "Eventstore-Position": position } });
    if (!answer.ok) throw new Error(`the board answered ${answer.status}`);
    const page = await answer.json();
    found.push(...page.items);
    path = page.next && `/task-board?limit=1000&after=${page.next}`;
  }
  rows.clear();
  for (const row of found) rows.set(row.task_id, row);
  show();
}

function listen() {
  const changes = new EventSource("/changes/task-board");
  let ready = null; // changes are applied behind the board that they change
  const startAnew = () => {
    changes.close();
    connection("lost", "Connection lost, trying again …");
    setTimeout(listen, 1000);
  };
  changes.addEventListener("begin", (event) => {
    // After a short interruption the stream goes on where it was, and the board is still right.
    ready ??= load(event.lastEventId);
    ready.then(() => connection("live", "Live"), startAnew);
  });
  changes.addEventListener("changed", (event) => {
    const { key, row } = JSON.parse(event.data);
    ready?.then(() => {
      if (row === null) rows.delete(key.task_id);
      else rows.set(key.task_id, row);
      show();
    }, () => {});
  });
  changes.addEventListener("error", () => {
    if (changes.readyState === EventSource.CLOSED) startAnew();
    else connection("lost", "Connection lost, trying again …");
  });
}

listen();
