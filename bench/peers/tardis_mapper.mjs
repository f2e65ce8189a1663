// The peer of mapper_bench: npm tardis-dev's own Coinbase mappers over raw frames.
//   node tardis_mapper.mjs FRAMES [--no-install]      FRAMES: "<unix seconds>: <frame>" a line
// Prints {"peer"} once it is warm, or {"skipped"}; then, for every byte on its standard input, goes through the frames and
// prints the nanoseconds that a frame took. The package lives in $UTP_BENCH_CACHE.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createRequire } from 'node:module'

const VERSION = '13.35.3'
const WARM_UP = 30 // rounds; its figures have settled by then
const cache = process.env.UTP_BENCH_CACHE || join(homedir(), '.cache', 'utp-bench')
const home = join(cache, 'node_modules', 'tardis-dev')

function skip(why) {
  console.log(JSON.stringify({ skipped: why }))
  process.exit(0)
}

const file = process.argv[2]
if (!existsSync(home)) {
  if (process.argv.includes('--no-install')) skip('tardis-dev is not installed; the full benchmark run installs it')
  try {
    mkdirSync(cache, { recursive: true })
    execFileSync('npm', ['install', '--prefix', cache, '--no-audit', '--no-fund', '--ignore-scripts', `tardis-dev@${VERSION}`], { stdio: 'ignore' })
  } catch {
    skip('tardis-dev could not be installed from npm')
  }
}
const require = createRequire(join(cache, 'index.js'))
const { version } = JSON.parse(readFileSync(join(home, 'package.json')))
const mappers = require(join(home, 'dist', 'mappers', 'coinbase.js'))

// Raw bytes, as they come from a socket or file.
const frames = readFileSync(file, 'utf8').split('\n').filter((line) => /^[0-9]/.test(line)).map((line) => {
  const colon = line.indexOf(': ')
  return { time: new Date(Number(line.slice(0, colon)) * 1000), bytes: Buffer.from(line.slice(colon + 2)) }
})

let events = 0
function round() {
  const instances = [mappers.coinbaseTradesMapper, new mappers.CoinbaseBookChangMapper(), mappers.coinbaseBookTickerMapper]
  events = 0
  const start = process.hrtime.bigint()
  for (const { time, bytes } of frames) {
    const message = JSON.parse(bytes)
    for (const mapper of instances) {
      if (!mapper.canHandle(message)) continue
      for (const event of mapper.map(message, time)) if (event) events++
    }
  }
  return Number(process.hrtime.bigint() - start) / frames.length
}

for (let i = 0; i < WARM_UP; i++) round()
console.log(JSON.stringify({ peer: `tardis-dev ${version} on node ${process.versions.node}`, events }))
const request = Buffer.alloc(1)
while (readSync(0, request, 0, 1) === 1) console.log(round())
