import { childrenOf, DerFault, type Element, expectTag, oidText, signedParts, TAG } from "./pki/der.ts";

const COMMON_NAME = "2.5.4.3";
const ORGANISATION = "2.5.4.10";
const SET = 0x31;
/** UTF8String, PrintableString, IA5String. Others are never needed for what counts here. */
const TEXTS: ReadonlySet<number> = new Set([0x0c, 0x13, 0x16]);
const VERSION = 0xa0;

export interface Subject {
  readonly commonNames: readonly string[];
  readonly organisations: readonly string[];
}

/**
 * Names and organisations of a certificate's subject, from its bytes: the text that libraries make of a subject can be made to look like several
 * attributes by whoever chooses one of them. Undefined where it cannot be read.
 */
export function subjectOf(der: Uint8Array): Subject | undefined {
  try {
    const body = childrenOf(der, signedParts(der).body);
    // Version, which every certificate with extensions has; serial number, signature, issuer, validity, subject.
    expectTag(body[0], VERSION);
    const subject = expectTag(body[5], TAG.sequence);
    const [commonNames, organisations]: [string[], string[]] = [[], []];
    for (const set of childrenOf(der, subject)) {
      for (const attribute of childrenOf(der, expectTag(set, SET))) {
        const [name, value] = childrenOf(der, expectTag(attribute, TAG.sequence));
        const oid = oidText(der, expectTag(name, TAG.oid));
        if (oid === COMMON_NAME) commonNames.push(textOf(der, value));
        if (oid === ORGANISATION) organisations.push(textOf(der, value));
      }
    }
    return { commonNames, organisations };
  } catch {
    return undefined;
  }
}

function textOf(der: Uint8Array, value: Element | undefined): string {
  if (!TEXTS.has(value?.tag ?? 0)) throw new DerFault("a name is in a form that is not read");
  return new TextDecoder("utf-8", { fatal: true }).decode(der.subarray(value?.from, value?.to));
}
