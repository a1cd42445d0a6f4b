#!/usr/bin/env bun
import { main, systemHost } from "../src/cli/mod.ts";

// The one place that ends the process.
const exitNow = (code: number): void => process.exit(code);
void main(process.argv.slice(2), systemHost(exitNow)).then(exitNow);
