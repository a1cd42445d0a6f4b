/** Does something before, after or instead of a method of an object: `next` calls it. */
export type Around = (method: string, args: readonly unknown[], next: (args?: readonly unknown[]) => unknown) => unknown;

type Method = (...args: unknown[]) => unknown;

/** The object with every method led through `around`; what is not a method is passed on as it is. */
export function surround<T extends object>(target: T, around: Around): T {
  const methods = new Map<string, Method>();
  return new Proxy(target, {
    get(_target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function" || typeof name !== "string") return value;
      let method = methods.get(name);
      if (method === undefined) {
        const original = value as Method;
        method = (...args) => around(name, args, (changed = args) => original.apply(target, [...changed]));
        methods.set(name, method);
      }
      return method;
    },
  });
}
