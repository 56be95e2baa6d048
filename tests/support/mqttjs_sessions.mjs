// MQTT.js as a gateway through the life of a session; prints what it saw as JSON.
import { createRequire } from 'node:module';
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const told = JSON.parse(process.argv[2]);
const mqtt = createRequire(`${told.modules}/`)('mqtt');
const { gateway, version } = told;
const below = `shangyun/v1/${gateway}`;
const clientId = `${gateway}/js`;

const give_up = setTimeout(() => fail("waited in vain"), 60_000);
function fail(why) { console.error(why); process.exit(1); }

async function open(clientId, { kept = false, will, keepalive = 60 } = {}) {
  const client = mqtt.connect(`mqtt://${told.host}:${told.port}`, {
    protocolVersion: version, clientId, clean: !kept, keepalive, reconnectPeriod: 0,
    username: gateway, password: told.token,
    ...(version === 5 ? { properties: { sessionExpiryInterval: kept ? 3600 : 0 } } : {}),
    ...(will ? { will: { topic: `${below}/gone`, payload: will, qos: 1 } } : {}),
  });
  const state = { client, messages: [], waiting: [], ended: null };
  client.on('error', (error) => { if (!state.ended) fail(`error: ${error}`); });
  client.on('disconnect', (packet) => { state.ended = packet.reasonCode; });
  client.on('close', () => { state.ended ??= 0; });
  client.on('message', (topic, payload, packet) => {
    const message = [packet.qos, payload.toString()];
    const next = state.waiting.shift();
    if (next) next(message); else state.messages.push(message);
  });
  state.present = await new Promise((done) => client.once('connect', (connack) => done(connack.sessionPresent)));
  state.message = () => state.messages.length ? state.messages.shift() : new Promise((done) => state.waiting.push(done));
  state.subscribe = async (topic) => (await client.subscribeAsync(topic, { qos: 1 })).map((granted) => granted.qos);
  // MQTT.js gives a PUBACK's refusal as an error.
  state.publish = (payload) => client.publishAsync(`${below}/report`, payload, { qos: 1 }).then(() => 0, (error) => error.code);
  state.leave = () => client.endAsync();
  state.vanish = () => client.stream.destroy();
  return state;
}

const faulty = (boot) => JSON.stringify({ v: 2, boot, seq: 1 });
const seen = {};
let client = await open(clientId, { kept: true });
seen.first_present = client.present;
seen.granted = await client.subscribe(`${below}/refused`);
seen.accepted = await client.publish(told.report);
seen.refused = await client.publish(faulty('now'));
seen.now = await client.message();
await client.leave();
const beside = await open(`${gateway}/js-beside`);
await beside.publish(faulty('away'));
client = await open(clientId, { kept: true });
seen.again_present = client.present;
seen.away = await client.message();
const second = await open(clientId, { kept: true });
while (client.ended === null) await sleep(20);
seen.taken_over = client.ended;
await second.leave();
client = await open(clientId);
seen.clean_present = client.present;
await client.leave();
await beside.subscribe(`${below}/gone`);
(await open(`${gateway}/js-will`, { will: 'lost' })).vanish();
seen.will = await beside.message();
await beside.leave();
client = await open(clientId, { keepalive: 1 });
await sleep(3000);
seen.kept_alive = (await client.publish(told.report)) === 0 && client.ended === null;
await client.leave();
clearTimeout(give_up);
console.log(JSON.stringify(seen));
process.exit(0);
