"""Celery on RabbitMQ, the usual Python answer: a task fetches a page and upserts it (acks_late, prefetch =
concurrency). `celery_peer.py publish`, then `celery -A celery_peer worker -P threads|prefork -c N`; what to
pull from where by the environment."""
import json, os, sys, threading
import psycopg, requests
from celery import Celery

PG, URL, PAGES = os.environ["PGURL"], os.environ["URL"], int(os.environ["PAGES"])
REQUEST, TOKEN = json.loads(os.environ["REQUEST"]), os.environ["TOKEN"]
app = Celery("celery_peer", broker=os.environ["AMQP"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True,
                task_default_queue=os.environ["QUEUE"], worker_enable_remote_control=False)
loc = threading.local()
UP = """insert into r_peer select (x->>'time')::date,(x->>'creativity_id')::bigint,(x->>'campaign_id')::bigint,(x->>'unit_id')::bigint,x->>'note_id',replace(x->>'fee',',','')::numeric,replace(x->>'impression',',','')::bigint,replace(x->>'click',',','')::bigint,x from jsonb_array_elements(%s::jsonb) x on conflict(day,creativity_id) do update set fee=excluded.fee, impression=excluded.impression, click=excluded.click, raw=excluded.raw"""
DDL = "create table r_peer(day date, creativity_id bigint, campaign_id bigint, unit_id bigint, note_id text, fee numeric, impression bigint, click bigint, raw jsonb, primary key(day, creativity_id))"

@app.task
def fetch(n):
    if not hasattr(loc, "s"):
        loc.s, loc.c = requests.Session(), psycopg.connect(PG, autocommit=True)
        loc.s.headers["Access-Token"] = TOKEN
    d = loc.s.post(URL, json={**REQUEST, "page_num": n}).json()["data"]["data_list"]
    loc.c.execute(UP, [json.dumps(d)])

if __name__ == "__main__" and sys.argv[1] == "publish":
    psycopg.connect(PG, autocommit=True).execute(DDL)
    from celery_peer import fetch as task  # under the name that the worker knows
    for n in range(1, PAGES + 1):
        task.delay(n)
