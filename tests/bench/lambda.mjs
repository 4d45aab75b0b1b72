// The same function in Node, plain and idiomatic, to be measured beside bootstrap.
//
//   MAPPING=crimes|events node lambda.mjs

import http from "node:http";

const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
    const request = http.request({ agent, hostname, port, method, path: `/2018-06-01/runtime/${path}`, headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

function crime(text) {
  const [crime_time, address, district, beat, grid, description, crime_id, latitude, longitude] = text.split("|");
  const [crime_year, crime_month, crime_day] = crime_time.slice(0, 10).split("/");
  const lat = Number(latitude);
  const lon = Number(longitude);
  return {
    crime_time,
    address,
    district: parseInt(district, 10),
    beat: beat.trim(),
    grid: parseInt(grid, 10),
    description,
    crime_id: parseInt(crime_id, 10),
    latitude: lat,
    longitude: lon,
    location: { lat, lon },
    crime_year,
    crime_month,
    crime_day,
  };
}

function flatten(value, prefix, out) {
  for (const [name, member] of Object.entries(value)) {
    if (member !== null && typeof member === "object" && !Array.isArray(member)) {
      flatten(member, `${prefix}${name}.`, out);
    } else {
      out[prefix + name] = member;
    }
  }
  return out;
}

function event(value) {
  const flat = flatten(value, "", {});
  const [event_year, event_month, event_day] = flat.timestamp.slice(0, 10).split("-");
  return Object.assign(flat, { event_year, event_month, event_day });
}

function shape(text) {
  if (process.env.MAPPING === "crimes") {
    return JSON.stringify(crime(text)) + "\n";
  }
  const parsed = JSON.parse(text);
  return (Array.isArray(parsed) ? parsed : [parsed]).map((one) => JSON.stringify(event(one)) + "\n").join("");
}

function transform({ records }) {
  return {
    records: records.map(({ recordId, data }) => {
      try {
        const made = shape(Buffer.from(data, "base64").toString("utf8"));
        return { recordId, result: "Ok", data: Buffer.from(made, "utf8").toString("base64") };
      } catch {
        return { recordId, result: "ProcessingFailed", data };
      }
    }),
  };
}

for (;;) {
  const next = await call("GET", "invocation/next");
  const id = next.headers["lambda-runtime-aws-request-id"];
  const answer = JSON.stringify(transform(JSON.parse(next.body)));
  await call("POST", `invocation/${id}/response`, answer);
}
