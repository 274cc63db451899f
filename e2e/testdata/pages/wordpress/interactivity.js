export const store = (name) => window.steps.push(name);
