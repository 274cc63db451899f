export const step = "module";
