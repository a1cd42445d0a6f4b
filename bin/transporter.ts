#!/usr/bin/env bun
import { main, systemHost, tellCrash } from "../src/cli/mod.ts";

// The one place that ends the process.
const exitNow = (code: number): void => process.exit(code);
const host = systemHost(exitNow);
const crash = (thrown: unknown): void => void tellCrash(thrown, host).then(exitNow, () => exitNow(70));
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);
void main(process.argv.slice(2), host, () => Date.now()).then(exitNow);
