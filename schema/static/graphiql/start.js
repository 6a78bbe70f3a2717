"use strict";

// The key is kept for this tab only and goes nowhere but into the Authorization header.
(() => {
  const STORED = "api-factory-key";
  const FIRST_QUERY = "# Ctrl+Enter runs it.\n{\n  ping\n}\n";
  const root = ReactDOM.createRoot(document.getElementById("graphiql"));
  const box = document.getElementById("key");
  const note = document.getElementById("key-note");
  const noteWithoutKey = note.textContent;
  let generation = 0;

  const fetcherFor = (key) => async (request, options = {}) => {
    const headers = { "Content-Type": "application/json", Accept: "application/graphql-response+json" };
    if (key) headers.Authorization = `Bearer ${key}`;
    const reply = await fetch("/graphql", {
      method: "POST",
      headers: { ...headers, ...options.headers },
      body: JSON.stringify(request),
      credentials: "omit",
    });
    return reply.json();
  };

  const render = () => {
    const key = sessionStorage.getItem(STORED) || "";
    note.textContent = key ? "Requests carry this key." : noteWithoutKey;
    // A new React key makes GraphiQL ask for the schema again, with the new API key.
    root.render(
      React.createElement(GraphiQL, {
        key: generation,
        fetcher: fetcherFor(key),
        // Only a key may ask for the schema; null asks for none.
        schema: key ? undefined : null,
        defaultQuery: FIRST_QUERY,
        shouldPersistHeaders: false,
      }),
    );
  };

  document.getElementById("key-box").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = box.value.trim();
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
    generation += 1;
    render();
  });

  box.value = sessionStorage.getItem(STORED) || "";
  render();
})();
