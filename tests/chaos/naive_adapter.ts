// The edge adapter with a cache that goes by time alone: the same one, but nobody looks at its tags.

import { FIXED_KEYS, LOOK } from "../../functions/api/cache/scripts.ts";
import { dependencies } from "../../functions/api/dependencies.ts";
import { makeHandler } from "../../functions/api/handler.ts";
import { openRedis, type RedisLink } from "../../functions/_shared/redis.ts";

function tagless(link: RedisLink): RedisLink {
  return {
    run: (command) => link.run(command),
    script: (lua, keys, args) => link.script(lua, lua === LOOK ? keys.slice(0, FIXED_KEYS) : keys, args),
    close: () => link.close(),
    get away() {
      return link.away;
    },
  };
}

Deno.serve(makeHandler({ ...dependencies, openRedis: (url) => tagless(openRedis(url)) }));
