export const step = "lazy";
