// kinesis.js - a local Kinesis made by strangers (kinesalite), dressed for tests and for the demo.
//
//   node kinesis.js [--records-per-second N] [--bytes-per-second N]
//
// prints "ready PORT" when it accepts requests on 127.0.0.1, and ends when its standard input is
// closed, so that it never outlives whoever started it. Streams live in memory.
//
// Why kinesalite: three were tried with the same boto3 program (two cores, 2 shards, requests of 500
// records of 200 bytes).
//
//   kinesalite 3.3.3      ready in 0.12 s; 22,000 to 25,000 records/s with four writers, no slower
//                         at 200,000 records than at the start; 1.7 KiB of memory a record
//   moto 5.2.5            ready in 0.3 s; 10,000 records/s at first, 1,300 on the way to 200,000: a
//                         request costs more the more the stream holds; and with four writers 455
//                         of 40,000 records that it had acknowledged were never given back
//   kinesis-local 0.6.2   ready in 0.6 s; 690 records/s over the first 20,000, falling; takes 501
//                         records, empty requests and records over 1 MiB without a word
//
// So moto cannot prove that nothing is lost, and kinesis-local is too slow. What kinesalite lacks
// is added here, from outside: it listens on every address (now on 127.0.0.1, on a port the kernel
// picks); it dies when a client goes away in the middle of a request (now such a request is simply
// forgotten); it never throttles (now, when asked, each shard takes so many records and bytes a
// second and the rest fail one by one, as in the real service). None of the three checks
// signatures: that is the work of tests/e2e/fake_kinesis.py.
'use strict'

const crypto = require('crypto')
const http = require('http')

const limits = {records: option('--records-per-second'), bytes: option('--bytes-per-second')}
if (limits.records || limits.bytes) throttle(limits)

const server = require('kinesalite')({createStreamMs: 20, deleteStreamMs: 20, shardLimit: 1000})
server.prependListener('request', survive)
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`))

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))

function option(name) {
  const at = process.argv.indexOf(name)
  if (at < 0) return 0
  const value = Number(process.argv[at + 1])
  if (!(value > 0)) {
    console.error(`kinesis.js: ${name} wants a number above 0`)
    process.exit(64)
  }
  return value
}

// kinesalite throws when a request ends early. An error of a request is nobody's business but its
// client's, who is gone.
function survive(request) {
  request.emit = function (event, ...rest) {
    if (event === 'error') return true
    return http.IncomingMessage.prototype.emit.call(this, event, ...rest)
  }
}

// Stands in for kinesalite's PutRecords: lets through what each shard has room for in the current
// second, and answers the others with the error of the real service.
function throttle({records, bytes}) {
  const where = require.resolve('kinesalite/actions/putRecords')
  const putRecords = require(where)
  const spent = new Map()

  function admit(shard, size) {
    const second = Math.floor(Date.now() / 1000)
    let s = spent.get(shard)
    if (!s || s.second !== second) spent.set(shard, (s = {second, records: 0, bytes: 0}))
    if (records && s.records + 1 > records) return false
    if (bytes && s.bytes + size > bytes) return false
    s.records += 1
    s.bytes += size
    return true
  }

  require.cache[where].exports = function (store, data, done) {
    store.getStream(data.StreamName, (err, stream) => {
      if (err) return done(err)
      const admitted = []
      const answers = data.Records.map((record) => {
        const shard = shardOf(stream, record)
        const data = Buffer.byteLength(record.Data, 'base64')
        const size = data + Buffer.byteLength(record.PartitionKey)
        if (!shard || admit(`${data.StreamName}/${shard}`, size)) {
          admitted.push(record)
          return null
        }
        return {
          ErrorCode: 'ProvisionedThroughputExceededException',
          ErrorMessage: `Rate exceeded for shard ${shard} in stream ${data.StreamName}.`,
        }
      })
      const refused = data.Records.length - admitted.length
      if (refused === data.Records.length) {
        return done(null, {FailedRecordCount: refused, Records: answers})
      }
      putRecords(store, {...data, Records: admitted}, (err, reply) => {
        if (err) return done(err)
        let next = 0
        const merged = answers.map((answer) => answer || reply.Records[next++])
        done(null, {FailedRecordCount: refused, Records: merged})
      })
    })
  }
}

function shardOf(stream, record) {
  const hash =
    record.ExplicitHashKey != null
      ? BigInt(record.ExplicitHashKey)
      : BigInt('0x' + crypto.createHash('md5').update(record.PartitionKey, 'utf8').digest('hex'))
  const shard = stream.Shards.find(
    (s) =>
      s.SequenceNumberRange.EndingSequenceNumber == null &&
      hash >= BigInt(s.HashKeyRange.StartingHashKey) &&
      hash <= BigInt(s.HashKeyRange.EndingHashKey)
  )
  return shard && shard.ShardId
}
