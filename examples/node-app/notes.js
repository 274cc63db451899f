// The notes: kept in memory, gone when the process ends.

import { Problem } from './problem.js';

const MAX_NOTES = 10_000; // the oldest make room
const LIMITS = { title: 200, text: 10_000 };

export class Notes {
  #byID = new Map(); // in order of creation
  #lastID = 0;

  all() {
    return [...this.#byID.values()];
  }

  newest(n) {
    return this.all().slice(-n).reverse();
  }

  get(id) {
    const note = this.#byID.get(id);
    if (!note) throw new Problem(404, 'no note with this id');
    return note;
  }

  add({ title, text }) {
    const id = String(++this.#lastID);
    const now = new Date().toISOString();
    const note = { id, title, text, created: now, updated: now };
    this.#byID.set(id, note);
    if (this.#byID.size > MAX_NOTES) this.#byID.delete(this.#byID.keys().next().value);
    return note;
  }

  replace(id, { title, text }) {
    const note = { ...this.get(id), title, text, updated: new Date().toISOString() };
    this.#byID.set(id, note);
    return note;
  }

  remove(id) {
    this.get(id);
    this.#byID.delete(id);
  }
}

// readNote returns the fields of a note sent by a client, or throws a Problem
// that names each field at fault.
export function readNote(body) {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) {
    throw new Problem(400, 'send a JSON object with title and text, as application/json');
  }
  const { title, text = '' } = body;
  const errors = [];
  if (typeof title !== 'string' || title.trim() === '' || title.length > LIMITS.title) {
    errors.push({ field: 'title', detail: `must be text of 1 to ${LIMITS.title} characters` });
  }
  if (typeof text !== 'string' || text.length > LIMITS.text) {
    errors.push({ field: 'text', detail: `must be text of at most ${LIMITS.text} characters` });
  }
  for (const field of Object.keys(body)) {
    if (!Object.hasOwn(LIMITS, field)) errors.push({ field, detail: 'is not a field of a note' });
  }
  if (errors.length > 0) throw new Problem(400, 'the note is not valid', errors);
  return { title: title.trim(), text };
}
