import { describe, expect, test } from "bun:test";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { csrSha256, makeCsr, makeKey, readCsr } from "./csr.ts";
import { keySha256 } from "./signature.ts";
import { keyOf, makeAnyCsr } from "./certificates-for-tests.ts";

const der = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
const pem = (bytes: Uint8Array): string =>
  `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(bytes).toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;

function fault(text: string): string {
  try {
    readCsr(text);
    return "taken";
  } catch (error) {
    const { code, message } = error as { readonly code: string; readonly message: string };
    return `${code}: ${message.replace("the certificate request cannot be used: ", "")}`;
  }
}

describe("a certificate request", () => {
  test("that an agent makes is read with the key of its key", () => {
    const key = makeKey();
    const text = makeCsr(key);
    expect(readCsr(text).keySha256).toBe(keySha256(createPublicKey(createPrivateKey(key))));
    expect(readCsr(text).sha256).toBe(csrSha256(text));
  });

  test("is made for P-256 only", () => {
    for (const kind of ["p384", "rsa2048", "ed25519"] as const) expect(() => makeCsr(keyOf(kind))).toThrow("P-256");
  });

  test.each(["p256", "p384", "rsa2048", "ed25519"] as const)("of others is read with a key of the kind %s", async (kind) => {
    const key = keyOf(kind);
    const hash = kind === "p384" ? "SHA-384" : "SHA-256";
    expect(readCsr(await makeAnyCsr(key, key, hash)).keySha256).toBe(keySha256(createPublicKey(createPrivateKey(key))));
  });

  test("may be introduced as a new one", () => {
    expect(fault(makeCsr(makeKey()).replaceAll("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"))).toBe("taken");
  });

  test.each([
    ["rsa1024", "INVALID_CSR: its RSA key has 1024 bits"],
    ["p521", "INVALID_CSR: its curve"],
  ] as const)("is refused with a key of the kind %s", async (kind, expected) => {
    expect(fault(await makeAnyCsr(keyOf(kind), undefined, "SHA-512"))).toStartWith(expected);
  });

  test("is refused where another key has signed it", async () => {
    expect(fault(await makeAnyCsr(makeKey(), makeKey()))).toBe("INVALID_CSR: it is not signed by its own key");
  });

  test("is refused with SHA-1", async () => {
    const key = keyOf("rsa2048");
    expect(fault(await makeAnyCsr(key, key, "SHA-1"))).toBe("INVALID_CSR: it is not signed by its own key");
  });

  test("is refused wherever one of its bytes is another", () => {
    const bytes = der(makeCsr(makeKey()));
    for (let at = 0; at < bytes.length; at += 1) {
      const other = Buffer.from(bytes);
      other[at] = (other[at] ?? 0) ^ 0x01;
      expect(fault(pem(other))).toStartWith("INVALID_CSR");
    }
  });

  test("is refused wherever it is cut off, and with anything behind it", () => {
    const bytes = der(makeCsr(makeKey()));
    for (let length = 0; length < bytes.length; length += 7) expect(fault(pem(bytes.subarray(0, length)))).toStartWith("INVALID_CSR");
    expect(fault(pem(Buffer.concat([bytes, Buffer.from([0])])))).toStartWith("INVALID_CSR");
  });

  test("is refused where it is no PEM block, or not the only one", () => {
    const text = makeCsr(makeKey());
    for (const other of [
      "",
      "hello",
      der(text).toString("base64"),
      text + text,
      `x${text}`,
      `${text}x`,
      text.replaceAll("REQUEST", "REVIEW"),
    ])
      expect(fault(other)).toBe("INVALID_CSR: it is not one PEM block of a certificate request");
  });

  test("is not looked at where it is too long", () => {
    expect(fault(makeCsr(makeKey()).padEnd(16_384, "\n"))).toBe("taken");
    expect(fault(makeCsr(makeKey()).padEnd(16_385, "\n"))).toBe("INVALID_CSR: it has more than 16384 characters");
  });
});
