// Scripts are put into the program as text: `import x from "./x.lua" with { type: "text" }`.
declare module "*.lua" {
  const text: string;
  export default text;
}
