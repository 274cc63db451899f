// The page: no inline script or style, so it works under a strict
// Content-Security-Policy.

export function page(notes) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Notes</title>
<link rel="icon" type="image/svg+xml" href="/public/icon.svg">
<link rel="stylesheet" href="/public/style.css">
<script src="/public/script.js" defer></script>
</head>
<body>
<main>
<h1>Notes</h1>
<form id="add">
<label>Title <input name="title" required maxlength="200"></label>
<label>Text <textarea name="text" rows="3" maxlength="10000"></textarea></label>
<button>Add</button>
<p id="problem" role="alert"></p>
</form>
<ul id="notes">
${notes.map(item).join('\n')}
</ul>
</main>
</body>
</html>
`;
}

function item({ id, title, text }) {
  return `<li><h2>${escape(title)}</h2><p>${escape(text)}</p><button data-delete="${escape(id)}">Delete</button></li>`;
}

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escape(text) {
  return text.replace(/[&<>"']/g, (c) => ENTITIES[c]);
}
