// What a user would write in Go: `baseline pool|publish|consume`, what to pull from where by the environment.
// pool: a worker pool in one process (jobs channel, N workers, results, collector); each worker fetches a page and upserts it.
// consume: the same worker over RabbitMQ with prefetch = workers, upsert then ack.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v4/pgxpool"
	amqp "github.com/rabbitmq/amqp091-go"
)

type row map[string]interface{}
type page struct {
	Code int
	Data struct {
		TotalCount int   `json:"total_count"`
		DataList   []row `json:"data_list"`
	}
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
var wanted map[string]interface{}

func fetch(url string, n int) (*page, error) {
	ask := map[string]interface{}{"page_num": n}
	for k, v := range wanted {
		ask[k] = v
	}
	b, _ := json.Marshal(ask)
	for {
		req, err := http.NewRequest("POST", url, bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Access-Token", os.Getenv("TOKEN"))
		res, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return nil, err
		}
		if res.StatusCode == 429 {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		p := &page{}
		if err := json.Unmarshal(body, p); err != nil {
			return nil, err
		}
		if p.Code != 0 {
			return nil, fmt.Errorf("code %d", p.Code)
		}
		return p, nil
	}
}

const up = `insert into r_peer select (x->>'time')::date,(x->>'creativity_id')::bigint,(x->>'campaign_id')::bigint,(x->>'unit_id')::bigint,x->>'note_id',replace(x->>'fee',',','')::numeric,replace(x->>'impression',',','')::bigint,replace(x->>'click',',','')::bigint,x from jsonb_array_elements($1::jsonb) x on conflict(day,creativity_id) do update set fee=excluded.fee, impression=excluded.impression, click=excluded.click, raw=excluded.raw`
const ddl = `create table r_peer(day date, creativity_id bigint, campaign_id bigint, unit_id bigint, note_id text, fee numeric, impression bigint, click bigint, raw jsonb, primary key(day, creativity_id))`

func store(db *pgxpool.Pool, p *page) error {
	b, _ := json.Marshal(p.Data.DataList)
	_, err := db.Exec(context.Background(), up, string(b))
	return err
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pages, err := strconv.Atoi(os.Getenv("PAGES"))
	must(err)
	workers, err := strconv.Atoi(os.Getenv("WORKERS"))
	must(err)
	must(json.Unmarshal([]byte(os.Getenv("REQUEST")), &wanted))
	url, queue := os.Getenv("URL"), os.Getenv("QUEUE")
	cfg, err := pgxpool.ParseConfig(os.Getenv("PGURL"))
	must(err)
	cfg.MaxConns = int32(workers)
	db, err := pgxpool.ConnectConfig(context.Background(), cfg)
	must(err)
	if os.Args[1] != "publish" {
		_, err = db.Exec(context.Background(), ddl)
		must(err)
	}
	rows := 0
	switch os.Args[1] {
	case "pool":
		jobs, results := make(chan int, 1000), make(chan int, 1000)
		var wg sync.WaitGroup
		for w := 0; w < workers; w++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for n := range jobs {
					p, err := fetch(url, n)
					must(err)
					must(store(db, p))
					results <- len(p.Data.DataList)
				}
			}()
		}
		go func() {
			for n := 1; n <= pages; n++ {
				jobs <- n
			}
			close(jobs)
		}()
		go func() { wg.Wait(); close(results) }()
		for n := range results {
			rows += n
		}
	default:
		conn, err := amqp.Dial(os.Getenv("AMQP"))
		must(err)
		ch, err := conn.Channel()
		must(err)
		_, err = ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
		must(err)
		if os.Args[1] == "publish" {
			must(ch.Confirm(false))
			acks := ch.NotifyPublish(make(chan amqp.Confirmation, pages))
			for n := 1; n <= pages; n++ {
				must(ch.Publish("", queue, false, false, amqp.Publishing{DeliveryMode: 2, Body: []byte(strconv.Itoa(n))}))
			}
			for n := 1; n <= pages; n++ {
				<-acks
			}
		} else {
			must(ch.Qos(workers, 0, false))
			ds, err := ch.Consume(queue, "", false, false, false, false, nil)
			must(err)
			done := make(chan int, 1000)
			for w := 0; w < workers; w++ {
				go func() {
					for d := range ds {
						n, _ := strconv.Atoi(string(d.Body))
						p, err := fetch(url, n)
						must(err)
						must(store(db, p))
						must(d.Ack(false))
						done <- len(p.Data.DataList)
					}
				}()
			}
			for i := 0; i < pages; i++ {
				rows += <-done
			}
		}
	}
	fmt.Println(rows)
}
