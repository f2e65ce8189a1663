// The peer of mapper_bench: npm tardis-dev's own Coinbase mappers over raw frames.
//   node tardis_mapper.mjs FRAMES ROUNDS [--no-install]      FRAMES: "<unix ms>\t<frame>" a line
// Prints {"peer","ns_per_frame","events"}, the best round, or {"skipped"}. The package lives in $UTP_BENCH_CACHE.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createRequire } from 'node:module'

const VERSION = '13.35.3'
const cache = process.env.UTP_BENCH_CACHE || join(homedir(), '.cache', 'utp-bench')
const home = join(cache, 'node_modules', 'tardis-dev')

function skip(why) {
  console.log(JSON.stringify({ skipped: why }))
  process.exit(0)
}

const [file, rounds] = process.argv.slice(2)
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
const frames = readFileSync(file, 'utf8').split('\n').filter((line) => line).map((line) => {
  const tab = line.indexOf('\t')
  return { time: new Date(Number(line.slice(0, tab))), bytes: Buffer.from(line.slice(tab + 1)) }
})

let best = Infinity
let events = 0
for (let round = 0; round < Number(rounds); round++) {
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
  best = Math.min(best, Number(process.hrtime.bigint() - start))
}
console.log(JSON.stringify({ peer: `tardis-dev ${version} on node ${process.versions.node}`, ns_per_frame: best / frames.length, events }))
