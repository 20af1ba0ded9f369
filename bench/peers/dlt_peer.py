"""dlt: a resource over the API, pages by WORKERS threads, merged by upsert into PostgreSQL; what to pull from
where by the environment."""
import json, os, tempfile
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
import dlt, requests

URL, PAGES, WORKERS = os.environ["URL"], int(os.environ["PAGES"]), int(os.environ["WORKERS"])
REQUEST = json.loads(os.environ["REQUEST"])
PG = urlsplit(os.environ["PGURL"])
if not PG.password:  # dlt insists on one, also where none is asked for
    PG = PG._replace(netloc=PG.netloc.replace("@", ":none@", 1))
s = requests.Session()
s.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
s.headers["Access-Token"] = os.environ["TOKEN"]

def page(n):
    return s.post(URL, json={**REQUEST, "page_num": n}).json()["data"]["data_list"]

@dlt.resource(name="report", primary_key=["time", "creativity_id"],
              write_disposition={"disposition": "merge", "strategy": "upsert"},
              columns={"creativity_id": {"data_type": "bigint"}, "time": {"data_type": "date"}})
def report():
    with ThreadPoolExecutor(WORKERS) as ex:
        yield from ex.map(page, range(1, PAGES + 1))

p = dlt.pipeline("bench", destination=dlt.destinations.postgres(credentials=PG.geturl()),
                 dataset_name="dlt_bench", dev_mode=False, pipelines_dir=tempfile.mkdtemp())
p.run(report())
