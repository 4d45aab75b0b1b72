// s3.js - a local S3 made by strangers (s3rver), dressed for tests and for the demonstration.
//
//   node s3.js DIRECTORY [BUCKET...]
//
// prints "ready PORT" when it accepts requests on 127.0.0.1, and ends when its standard input is
// closed. Objects are files in DIRECTORY. The keys are S3RVER and S3RVER; it is not strict about
// signatures, so nothing is proved about those.
'use strict'

const S3rver = require('s3rver')

const [directory, ...buckets] = process.argv.slice(2)
if (!directory) {
  console.error('usage: node s3.js DIRECTORY [BUCKET...]')
  process.exit(64)
}
const server = new S3rver({
  address: '127.0.0.1',
  port: 0,
  directory,
  silent: true,
  configureBuckets: buckets.map((name) => ({name})),
})
server.run().then(({port}) => console.log(`ready ${port}`))

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
