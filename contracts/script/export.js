#!/usr/bin/env node
// Compiles src/ and writes ABI, bytecode and the error table to bfl_events/abi/. With --check it writes nothing and
// exits 1 if the files there differ. It reads the compiler's settings from foundry.toml and nothing that forge built,
// so that neither tests nor caches change the result.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { keccak256 } = require("../node_modules/js-sha3");
const solc = require("../node_modules/solc");

const ROOT = path.resolve(__dirname, "..");
const TARGET = path.resolve(ROOT, "..", "bfl_events", "abi");
const CONTRACTS = {
  FLTask: "src/FLTask.sol",
  FLTaskFactory: "src/FLTaskFactory.sol",
  Transitions: "src/libraries/Transitions.sol",
};

// What anything called here may throw besides the contracts' own ABI: the Solidity runtime's two errors.
const RUNTIME_ERRORS = [
  { type: "error", name: "Error", inputs: [{ name: "message", type: "string" }] },
  { type: "error", name: "Panic", inputs: [{ name: "code", type: "uint256" }] },
];

function setting(toml, name) {
  const found = toml.match(new RegExp(`^${name} = "?([^"\\s]+)"?`, "m"));
  if (!found) throw new Error(`foundry.toml does not set ${name}`);
  return found[1];
}

function collect(file, sources) {
  if (sources[file]) return;
  const content = fs.readFileSync(path.join(ROOT, file.startsWith("@") ? "node_modules" : "", file), "utf8");
  sources[file] = { content };
  for (const [, target] of content.matchAll(/from\s+"([^"]+)"/g)) {
    collect(target.startsWith(".") ? path.posix.join(path.posix.dirname(file), target) : target, sources);
  }
}

function compile() {
  const toml = fs.readFileSync(path.join(ROOT, "foundry.toml"), "utf8");
  const sources = {};
  Object.values(CONTRACTS).forEach((file) => collect(file, sources));
  const settings = {
    viaIR: setting(toml, "via_ir") === "true",
    optimizer: { enabled: setting(toml, "optimizer") === "true", runs: Number(setting(toml, "optimizer_runs")) },
    evmVersion: setting(toml, "evm_version"),
    metadata: { bytecodeHash: setting(toml, "bytecode_hash"), appendCBOR: setting(toml, "cbor_metadata") === "true" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode", "evm.deployedBytecode"] } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
  const errors = (output.errors || []).filter((e) => e.severity === "error");
  if (errors.length) throw new Error(errors.map((e) => e.formattedMessage).join("\n"));
  return output.contracts;
}

// The 20 bytes of a library's address are left zero; linkReferences say where they belong.
const code = (object) => "0x" + object.replace(/__\$[0-9a-f]{34}\$__/g, "0".repeat(40));

function artefact(compiled) {
  const { bytecode, deployedBytecode } = compiled.evm;
  return {
    abi: compiled.abi,
    bytecode: code(bytecode.object),
    linkReferences: bytecode.linkReferences,
    deployedBytecode: code(deployedBytecode.object),
    deployedLinkReferences: deployedBytecode.linkReferences,
    // The id of an immutable changes with any source; only where it lies matters.
    immutableReferences: Object.values(deployedBytecode.immutableReferences || {}).flat(),
  };
}

const canonicalType = (i) =>
  i.type.startsWith("tuple") ? "(" + i.components.map(canonicalType).join(",") + ")" + i.type.slice(5) : i.type;

function errorTable(artefacts) {
  const table = {};
  const declared = Object.values(artefacts).flatMap((a) => a.abi.filter((entry) => entry.type === "error"));
  for (const { name, inputs } of [...RUNTIME_ERRORS, ...declared]) {
    const signature = `${name}(${inputs.map(canonicalType).join(",")})`;
    const entry = { name, signature, inputs: inputs.map((i) => ({ name: i.name, type: canonicalType(i) })) };
    table["0x" + keccak256(signature).slice(0, 8)] = entry;
  }
  return table;
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

function main() {
  const contracts = compile();
  const files = {};
  for (const [name, file] of Object.entries(CONTRACTS)) files[name] = artefact(contracts[file][name]);
  files.errors = errorTable(files);

  const check = process.argv.includes("--check");
  const stale = [];
  for (const [name, content] of Object.entries(files)) {
    const target = path.join(TARGET, name + ".json");
    const text = JSON.stringify(sorted(content), null, 1) + "\n";
    if (!check) fs.writeFileSync(target, text);
    else if (!fs.existsSync(target) || fs.readFileSync(target, "utf8") !== text) stale.push(name + ".json");
  }
  if (stale.length === 0) return;
  process.stderr.write(`bfl_events/abi is not what the contracts compile to: ${stale.join(", ")}.\n`);
  process.stderr.write("Run: node contracts/script/export.js\n");
  process.exitCode = 1;
}

main();
