import { checkRegistration, LIMITS, type Registration } from "../protocol/mod.ts";

/** Reads the first frame of an agent, or says what is wrong with it. */
export function readRegistration(text: string): Registration | { readonly problem: string } {
  if (text.length > LIMITS.registrationBytes) return { problem: `registration is larger than ${LIMITS.registrationBytes} bytes` };
  let decoded: unknown;
  try {
    decoded = JSON.parse(text);
  } catch {
    return { problem: "registration is not JSON" };
  }
  const checked = checkRegistration(decoded);
  return checked.ok ? checked.value : { problem: `invalid registration: ${checked.message}` };
}
