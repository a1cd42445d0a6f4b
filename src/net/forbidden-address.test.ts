import { describe, expect, test } from "bun:test";
import { addressProblem, nameProblem } from "./forbidden-address.ts";

describe("addresses that are never asked", () => {
  test.each([
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "255.255.255.255",
    "fe80::1",
    "febf::1",
    "fe80::1%eth0",
    "ff02::1",
    "::",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:1:2:3:4:5601:5601",
    "::ffff:0.0.0.0",
    "not an address",
    "",
  ])("%p", (address) => {
    expect(addressProblem(address)).toBeString();
  });
});

describe("addresses that may be asked", () => {
  test.each([
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "169.253.255.255",
    "169.255.0.1",
    "100.100.100.201",
    "223.255.255.255",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "fd00::1",
    "fec0::1",
    "2001:db8::a9fe:a9fe",
    "2001:4860:4860::8888",
    "64:ff9b::8.8.8.8",
    "2002:0808:0808::1",
    "2606:4700::1111",
  ])("%p", (address) => {
    expect(addressProblem(address)).toBeUndefined();
  });
});

test.each([
  ["metadata.google.internal", true],
  ["METADATA.google.internal.", true],
  ["metadata", true],
  ["metadata.example.com", false],
  ["localhost", false],
])("the name %p", (name, refused) => {
  expect(nameProblem(name) !== undefined).toBe(refused);
});
