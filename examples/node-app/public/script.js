const problem = document.getElementById('problem');

async function call(method, path, body) {
  const res = await fetch(path, {
    method,
    headers: body && { 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  if (res.ok) return location.reload();
  const { detail } = await res.json().catch(() => ({}));
  problem.textContent = detail ?? `The server answered ${res.status}.`;
}

document.getElementById('add').addEventListener('submit', (event) => {
  event.preventDefault();
  call('POST', '/api/notes', Object.fromEntries(new FormData(event.target)));
});

document.getElementById('notes').addEventListener('click', (event) => {
  const id = event.target.dataset.delete;
  if (id) call('DELETE', `/api/notes/${id}`);
});
